//! A component that is ready to be instantiated.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use wasmtime::component::types::ComponentItem;

use super::embedded::{self, Embedded};
use super::runtime::Engine;
use super::unchecked::Unchecked;
use super::wasi::{Imported, Interface};
use crate::error::{Code, Error, Result, Stage};
use crate::observe::Meter;
use crate::oci::Digest;
use crate::policy::{Grant, Limits};

/// The worlds of `longshore:stage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `source-component`.
    Source,
    /// `filter-component`.
    Filter,
    /// `probe-component`.
    Probe,
    /// `framing-component`.
    Framing,
    /// `compressor-component`.
    Compressor,
}

/// Where a component came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is part of the program.
    BuiltIn,
    /// The user named this file.
    File(PathBuf),
    /// The user named this reference, `docker://…@sha256:…`.
    Registry(String),
}

/// A loaded component that fits its world. Cheap to clone.
#[derive(Clone)]
pub struct Component {
    name: String,
    kind: Kind,
    digest: Digest,
    origin: Origin,
    loaded: wasmtime::component::Component,
    wasi: Imported,
    work: Arc<Meter>,
    grant: Arc<Grant>,
}

const PACKAGE: &str = "longshore:stage/";
const VERSION: &str = "@0.1.0";

impl Kind {
    /// Every kind, upstream first.
    pub const ALL: [Self; 5] = [Self::Source, Self::Filter, Self::Probe, Self::Framing, Self::Compressor];

    /// The kind as it stands in flags, messages and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Filter => "filter",
            Self::Probe => "probe",
            Self::Framing => "framing",
            Self::Compressor => "compressor",
        }
    }

    /// What a component of this kind may import, besides the types.
    const fn imports(self) -> &'static [&'static str] {
        match self {
            Self::Source => &["log", "fetch", "local"],
            Self::Probe => &["log", "window"],
            Self::Filter | Self::Framing | Self::Compressor => &["log"],
        }
    }

    /// The interface that a component of this kind exports, by its full name.
    #[must_use]
    pub fn interface(self) -> String {
        format!("{PACKAGE}{}{VERSION}", self.as_str())
    }

    /// Whether a component of this kind may import that interface of WASI.
    fn may_import(self, interface: Interface) -> bool {
        match interface {
            Interface::Empty(_) => true,
            Interface::Http(_) => self == Self::Source,
        }
    }

    /// The stage of the flow it is.
    #[must_use]
    pub const fn stage(self) -> Stage {
        match self {
            Self::Source => Stage::Source,
            Self::Filter => Stage::Filter,
            Self::Probe => Stage::Probe,
            Self::Framing => Stage::Framing,
            Self::Compressor => Stage::Compressor,
        }
    }
}

impl Component {
    /// Loads a built-in component.
    ///
    /// # Errors
    /// `component-invalid` if the program is damaged.
    pub fn built_in(engine: &Engine, embedded: &Embedded) -> Result<Self> {
        Unchecked::built_in(engine, embedded)?.fit(engine, embedded.kind)
    }

    /// The component of that kind, once it was found to fit.
    pub(super) fn checked(
        engine: &Engine,
        name: &str,
        kind: Kind,
        digest: Digest,
        origin: Origin,
        loaded: wasmtime::component::Component,
    ) -> Result<Self> {
        let wasi = Imported::default();
        let (name, work, grant) = (name.to_owned(), Arc::default(), Arc::default());
        let mut component = Self { name, kind, digest, origin, loaded, wasi, work, grant };
        component.wasi = component.check(engine)?;
        Ok(component)
    }

    /// The same component, with what it is granted besides what its world has.
    #[must_use]
    pub fn granted(self, grant: Grant) -> Self {
        Self { grant: Arc::new(grant), ..self }
    }

    /// What it was granted besides what its world has.
    #[must_use]
    pub const fn grant(&self) -> &Arc<Grant> {
        &self.grant
    }

    /// The limits of its instances, where those of every component are `limits`.
    pub(super) fn limits(&self, limits: &Limits) -> Limits {
        let mut own = limits.clone();
        // Where nobody has set a limit, a built-in component has what it takes.
        let unset = limits.component_memory == Limits::default().component_memory;
        if let (Origin::BuiltIn, true, Some(memory)) = (&self.origin, unset, embedded::memory(&self.name)) {
            own.component_memory = memory;
        }
        if let Some(memory) = &self.grant.memory {
            own.component_memory = memory.value;
        }
        if let Some(cpu) = &self.grant.cpu {
            own.component_cpu = cpu.value;
        }
        if let Some(idle) = &self.grant.idle {
            own.component_idle = idle.value;
        }
        if let Some(wait) = &self.grant.wait {
            own.component_wait = wait.value;
        }
        own
    }

    /// The name it goes by: its package, or the name of its file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The digest of the component's bytes.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Where it came from.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The same component, whose instances' work is not counted with this one's: for threads that count their CPU time.
    #[must_use]
    pub fn counted_apart(&self) -> Self {
        Self { work: Arc::default(), ..self.clone() }
    }

    /// What its instances have worked so far, all together.
    #[must_use]
    pub const fn work(&self) -> &Arc<Meter> {
        &self.work
    }

    /// Whether it imports `wasi:http`.
    #[must_use]
    pub const fn wants_wasi_http(&self) -> bool {
        self.wasi.http
    }

    pub(super) const fn wasi(&self) -> Imported {
        self.wasi
    }

    pub(super) const fn loaded(&self) -> &wasmtime::component::Component {
        &self.loaded
    }

    /// Whether it imports nothing but what its world may import, and exports what its world must; everything that is wrong is
    /// named. Other exports are no concern of ours: tools of several languages add some. Returns what it imports of WASI.
    fn check(&self, engine: &Engine) -> Result<Imported> {
        let kind = self.kind.as_str();
        let mut misfits = Vec::new();
        let mut hint = None;
        let ty = self.loaded.component_type();
        let mut wasi = Imported::default();
        for (import, external) in ty.imports(engine.inner()) {
            let interface = import.strip_prefix(PACKAGE).and_then(|rest| rest.strip_suffix(VERSION));
            let of_wasi = Interface::named(import).filter(|interface| self.kind.may_import(*interface));
            let granted = of_wasi.is_some()
                || interface.is_some_and(|name| name == "types" || self.kind.imports().contains(&name));
            // Nothing can be reached through an instance without functions.
            let empty =
                matches!(external.ty, ComponentItem::ComponentInstance(ref i) if i.exports(engine.inner()).len() == 0);
            if !granted && !empty {
                misfits.push(format!("`{}` imports `{import}`, which is not granted to a {kind}", self.name));
                hint = Some(format!(
                    "a {kind} may import {}, and of WASI 0.2 and 0.3 what reaches nothing{}",
                    self.kind.imports().join(", "),
                    if self.kind == Kind::Source { " and the client side of wasi:http" } else { "" }
                ));
            }
            if let Some(interface) = of_wasi {
                wasi.add(interface);
            }
        }
        for export in [format!("{PACKAGE}describe{VERSION}"), self.kind.interface()] {
            if ty.get_export(engine.inner(), &export).is_none() {
                misfits.push(format!("`{}` does not export `{export}`, which a {kind} must", self.name));
            }
        }
        let mut misfits = misfits.into_iter();
        let Some(first) = misfits.next() else { return Ok(wasi) };
        let error = misfits.fold(Error::new(Code::ComponentInvalid, Stage::Plan, first), Error::context);
        Err(hint.into_iter().fold(error, Error::hint))
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Component");
        shown.field("name", &self.name).field("kind", &self.kind).field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl Origin {
    /// The origin as it stands in reports.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::BuiltIn => "built-in".to_owned(),
            Self::File(path) => path.display().to_string(),
            Self::Registry(reference) => reference.clone(),
        }
    }
}
