//! What will be done: everything resolved, nothing left to ask.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::PathBuf;

use url::Url;

use super::{Artifact, Checksum, ChecksumFile, Compiler, CopyPlan, Credentials, Location, SourceConnections};
use crate::error::{Error, Result, Stage};
use crate::net::{SourceFields, redacted};
use crate::oci::{MediaTypes, Platform, Repository, Tag, Wording};
use crate::policy::{ComponentOrigin, Egress, Origin, Policy, ProbeName};
use crate::stages::Brought;

/// One import.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the disk comes from.
    pub input: Input,
    /// The size of the disk, behind the filters, if the user said so.
    pub disk_size: Option<u64>,
    /// How many connections bring the disk, where the source has ranges.
    pub connections: SourceConnections,
    /// Bytes per second that are not exceeded on either side.
    pub limit: Option<NonZeroU64>,
    /// The folder in which the disk is spooled, and the most bytes it may take there.
    pub spool: Option<(PathBuf, u64)>,
    /// The file in which is kept what a later run needs to go on.
    pub checkpoint: Option<PathBuf>,
    /// Where it goes.
    pub target: Target,
    /// The tags it gets, at least one.
    pub tags: Vec<Tag>,
    /// The name of the file in the layer, if the user chose one.
    pub name: Option<String>,
    /// Checksums that are demanded.
    pub checksums: Vec<Checksum>,
    /// Files that name more of them.
    pub checksum_files: Vec<ChecksumFile>,
    /// The format that the disk is expected to have.
    pub format: Option<ProbeName>,
    /// Whether a disk without a byte is refused.
    pub not_empty: bool,
    /// What the image is to be like.
    pub image: ImageWishes,
    /// The image that is copied as it is; none if the disk becomes an image of its own.
    pub copy: Option<CopyPlan>,
    /// Seconds since 1970 that stand in for an unknown date (`SOURCE_DATE_EPOCH`).
    pub epoch: Option<u64>,
    /// The components.
    pub chosen: Chosen,
    /// What is allowed.
    pub policy: Policy,
    /// Who compiles strangers' components.
    pub compiler: Compiler,
}

/// SOURCE, and everything that goes with reading it.
#[derive(Clone, Debug)]
pub struct Input {
    /// Where the disk is.
    pub source: Source,
    /// How many bytes SOURCE gives, if the user said so.
    pub size: Option<u64>,
    /// Header fields for the source's own origin, the credentials among them.
    pub fields: SourceFields,
    /// What the source component is told besides the location.
    pub options: Vec<(String, String)>,
    /// The registry that it is in, if it is in one.
    pub registry: Option<SourceRegistry>,
    /// The image layout that it is in, if it is in one: `source` then says where, as the component is told.
    pub layout: Option<PathBuf>,
}

impl Input {
    /// Where the disk is, as it may be shown.
    #[must_use]
    pub fn shown(&self) -> String {
        match &self.layout {
            Some(layout) => format!("oci:{}", layout.display()),
            None => self.source.shown(),
        }
    }
}

/// A registry as SOURCE.
#[derive(Clone, Debug)]
pub struct SourceRegistry {
    /// The repository.
    pub repository: Repository,
    /// Credentials for its registry.
    pub credentials: Option<Credentials>,
}

/// What the user wants of the image.
#[derive(Clone, Debug)]
pub struct ImageWishes {
    /// Whose media types it has.
    pub media_types: MediaTypes,
    /// Labels besides ours, none of which is among ours.
    pub labels: BTreeMap<String, String>,
    /// Annotations, which win over ours.
    pub annotations: BTreeMap<String, String>,
    /// Who owns the file in the layer.
    pub owner: (u32, u32),
    /// What the image is for.
    pub platform: Platform,
    /// Words of the config that say nothing of the disk.
    pub wording: Wording,
    /// Formats that the label calls by another name than the probe, each with that name.
    pub formats: &'static [(&'static str, &'static str)],
}

impl ImageWishes {
    /// What the label calls a format.
    #[must_use]
    pub fn format_name<'a>(&self, format: &'a str) -> &'a str {
        self.formats.iter().find(|(probe, _)| *probe == format).map_or(format, |(_, name)| name)
    }
}

/// The scheme of a registry as SOURCE.
pub const REGISTRY_SCHEME: &str = "docker";

/// Where the disk is.
#[derive(Clone, Debug)]
pub enum Source {
    /// A URL, without user information.
    Http(Url),
    /// A file on this machine.
    File(PathBuf),
    /// Standard input.
    StandardInput,
    /// What a client sends us.
    Upload(Brought),
    /// Something that a chosen source component knows.
    Other(Location),
}

/// Where the image goes.
#[derive(Clone, Debug)]
pub enum Target {
    /// A repository in a registry.
    Registry {
        /// Which.
        repository: Repository,
        /// Credentials for its registry.
        credentials: Option<Credentials>,
    },
    /// An OCI image layout directory.
    Layout(PathBuf),
}

/// One component.
#[derive(Clone, Debug)]
pub enum Choice {
    /// The built-in one of that name.
    BuiltIn(String),
    /// The one in that file.
    File(PathBuf),
    /// The one in that repository of a registry.
    Registry(Box<Artifact>),
}

/// The components of an import.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The source.
    pub source: Choice,
    /// The filters.
    pub filters: Filters,
    /// The probe.
    pub probe: Choice,
    /// The framing.
    pub framing: Choice,
    /// The compressor, if the layer is to be compressed.
    pub compressor: Option<Choice>,
}

impl Choice {
    /// Where it comes from, as the policy has it.
    pub(super) const fn origin(&self) -> ComponentOrigin {
        match self {
            Self::BuiltIn(_) => ComponentOrigin::BuiltIn,
            Self::File(_) => ComponentOrigin::File,
            Self::Registry(_) => ComponentOrigin::Registry,
        }
    }

    /// The component as it was named.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::BuiltIn(name) => name.clone(),
            Self::File(path) => path.display().to_string(),
            Self::Registry(artifact) => artifact.shown(),
        }
    }
}

/// What the bytes pass between the source and the disk.
#[derive(Clone, Debug)]
pub enum Filters {
    /// These, in this order; nothing, if there are none.
    Named(Vec<Choice>),
    /// The built-in ones that the bytes ask for by how they begin, behind these.
    Auto(Vec<Choice>),
}

impl Filters {
    /// Whether the disk is surely what the source gives.
    #[must_use]
    pub const fn are_none(&self) -> bool {
        matches!(self, Self::Named(named) if named.is_empty())
    }

    /// Whether the bytes decide about more than those that were named.
    #[must_use]
    pub const fn are_chosen_by_bytes(&self) -> bool {
        matches!(self, Self::Auto(_))
    }

    /// Those that were named, in this order.
    #[must_use]
    pub fn named(&self) -> &[Choice] {
        let (Self::Named(named) | Self::Auto(named)) = self;
        named
    }

    /// The same behind another one.
    pub(crate) fn behind(mut self, first: Choice) -> Self {
        let (Self::Named(named) | Self::Auto(named)) = &mut self;
        named.insert(0, first);
        self
    }
}

impl Source {
    /// The scheme that a source component must declare to open it.
    #[must_use]
    pub fn scheme(&self) -> &str {
        match self {
            Self::Http(url) => url.scheme(),
            Self::File(_) | Self::StandardInput | Self::Upload(_) => "file",
            Self::Other(location) => location.scheme(),
        }
    }

    /// The location as the source component is told.
    #[must_use]
    pub fn location(&self) -> String {
        match self {
            Self::Http(url) => url.to_string(),
            Self::File(path) => path.display().to_string(),
            Self::StandardInput | Self::Upload(_) => "-".to_owned(),
            Self::Other(location) => location.as_typed().to_owned(),
        }
    }

    /// The location as it may be shown.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Http(url) => redacted(url),
            Self::File(path) => path.display().to_string(),
            Self::StandardInput => "standard input".to_owned(),
            Self::Upload(_) => "the upload".to_owned(),
            Self::Other(location) => location.shown(),
        }
    }

    /// The origin a source component is granted, if the location has one.
    ///
    /// # Errors
    /// `internal` if a URL without a host got here.
    pub fn origin(&self, egress: &Egress) -> Result<Option<Origin>> {
        match self {
            Self::Http(url) => Origin::of(url)
                .map(Some)
                .map_err(|why| Error::internal(Stage::Plan, format!("{}: {why}", redacted(url)))),
            Self::File(_) | Self::StandardInput | Self::Upload(_) => Ok(None),
            Self::Other(location) => Ok(location.origin(egress)),
        }
    }
}

impl Target {
    /// The image's name without tag or digest, as printed and reported.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Registry { repository, .. } => repository.to_string(),
            Self::Layout(path) => format!("oci:{}", path.display()),
        }
    }
}
