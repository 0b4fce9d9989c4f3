//! The main job: `run.rs` is its flow. `probe.rs` is the part of it that only looks. Everything else here serves them.

mod accepted;
mod alone;
mod artifact;
mod checkpoint;
mod checksum;
mod checksum_file;
mod cluster;
mod components;
mod content;
mod copy;
mod delete;
mod destination;
mod disk;
mod disk_entry;
mod explain;
mod export;
mod filtering;
mod fitting;
mod gc;
mod import;
mod inspect;
mod inspection;
mod interrupt;
mod layer;
mod ledger;
mod list;
mod listing;
mod loader;
mod location;
mod naming;
mod places;
mod plan;
mod preflight;
mod probe;
mod probed;
mod process;
mod reading;
mod report;
mod run;
mod shown;
mod spent;
mod sums;
mod wrapper;

pub use alone::in_this_thread;
pub use artifact::Artifact;
pub use checksum::{Checksum, Place};
pub use checksum_file::ChecksumFile;
pub use cluster::{Cluster, ClusterImages};
pub use components::{
    Components, Listed, built_in_digests, built_in_schemes, compile_child, list_built_in, source_for,
};
pub use copy::CopyPlan;
pub use delete::{Companions, DeleteAt, DeletePlan, Rule as DeleteRule, Selection, delete};
pub use explain::{Answer, Answered, explain, explain_listener};
pub use export::{
    EXPORT_SCHEMA, ExportFinished, ExportPlan, ExportReport, ExportSource, ExportTarget, ExportTransfer, Exported,
    ExportedTo, Sparse, export, export_unplanned, stored_image,
};
pub use fitting::{Fitting, Inspected, check_component, inspect_component};
pub use gc::{GcAt, GcPlan, collect};
pub use import::{Finished, check, import};
pub use inspect::{ImageAt, InspectPlan, inspect};
pub use inspection::{Blob, DiskFound, INSPECTION_SCHEMA, InspectedImage, Inspection, PlatformFound};
pub use interrupt::{Interrupt, Interrupted, interrupt};
pub use ledger::{error_report, unplanned};
pub use list::{ListAt, ListPlan, list};
pub use listing::{
    COLLECTED_SCHEMA, Collected, CollectedBlob, CollectedLink, DELETED_SCHEMA, Deleted, DeletedImage, LISTING_SCHEMA,
    ListedImage, Listing,
};
pub use location::{Location, MalformedLocation};
pub use naming::sanitised;
pub use plan::{Choice, Chosen, Filters, ImageWishes, Input, Plan, REGISTRY_SCHEME, Source, SourceRegistry, Target};
pub use probe::{ProbePlan, Probed, probe};
pub use probed::{PROBE_SCHEMA, ProbeReport, ProbedDisk, ProbedSource, Readers};
pub use report::{BottleneckReport, ConnectionReport, ContentReport, CopyReport, ErrorReport, Report, SCHEMA};
pub use run::Imported;

pub use crate::engine::{CachePlace, Compiler};
pub use crate::net::{check_tls, random};

/// A disk that is brought while it is imported, as [`Source`] takes it, and the end where it is brought.
pub use crate::stages::Brought;
pub use crate::stream::{Bringer, NobodyTakes, incoming};

/// Credentials for a registry, as [`Plan`] takes them.
pub use crate::registry::Credentials;
/// Credentials for a source, on their way into header fields.
pub type SourceCredentials = crate::net::Basic;
/// How many connections bring a disk, as [`Plan`] takes it.
pub use crate::stream::Connections as SourceConnections;
/// Header fields for a source, as [`Plan`] takes them.
pub type SourceFields = crate::net::SourceFields;
