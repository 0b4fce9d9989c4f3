//! Guests with one behaviour each, that a test can put in the place of a built-in component.

use std::path::{Path, PathBuf};

/// A fixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fixture {
    CompressorBack,
    CompressorScript,
    CompressorStore,
    CompressorXz,
    FilterChatter,
    FilterDeep,
    FilterDescribes,
    FilterDrops,
    FilterFetch,
    FilterFlood,
    FilterHandles,
    FilterHead,
    FilterHoard,
    FilterInvalid,
    FilterLiar,
    FilterMute,
    FilterOpen,
    FilterPass,
    FilterRot,
    FilterTasks,
    FilterTrickles,
    FilterWaits,
    FilterWords,
    FramingExtra,
    FramingWasi,
    ProbeOther,
    ProbeScript,
    ProbeWasiHttp,
    SourceFlip,
    SourceIdle,
    SourceLong,
    SourceOpen,
    SourceRanged,
    SourceRequests,
    SourceScheme,
    SourceShort,
    SourceSpin,
    SourceTrap,
    SourceWasiHttp02,
    SourceWasiHttp03,
    SourceWasiNosy,
}

/// Every fixture.
pub const ALL: [Fixture; 41] = [
    Fixture::CompressorBack,
    Fixture::CompressorScript,
    Fixture::CompressorStore,
    Fixture::CompressorXz,
    Fixture::FilterChatter,
    Fixture::FilterDeep,
    Fixture::FilterDescribes,
    Fixture::FilterDrops,
    Fixture::FilterFetch,
    Fixture::FilterFlood,
    Fixture::FilterHandles,
    Fixture::FilterHead,
    Fixture::FilterHoard,
    Fixture::FilterInvalid,
    Fixture::FilterLiar,
    Fixture::FilterMute,
    Fixture::FilterOpen,
    Fixture::FilterPass,
    Fixture::FilterRot,
    Fixture::FilterTasks,
    Fixture::FilterTrickles,
    Fixture::FilterWaits,
    Fixture::FilterWords,
    Fixture::FramingExtra,
    Fixture::FramingWasi,
    Fixture::ProbeOther,
    Fixture::ProbeScript,
    Fixture::ProbeWasiHttp,
    Fixture::SourceFlip,
    Fixture::SourceIdle,
    Fixture::SourceLong,
    Fixture::SourceOpen,
    Fixture::SourceRanged,
    Fixture::SourceRequests,
    Fixture::SourceScheme,
    Fixture::SourceShort,
    Fixture::SourceSpin,
    Fixture::SourceTrap,
    Fixture::SourceWasiHttp02,
    Fixture::SourceWasiHttp03,
    Fixture::SourceWasiNosy,
];

impl Fixture {
    /// The package's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::CompressorBack => "compressor-back",
            Self::CompressorScript => "compressor-script",
            Self::CompressorStore => "compressor-store",
            Self::CompressorXz => "compressor-xz",
            Self::FilterChatter => "filter-chatter",
            Self::FilterDeep => "filter-deep",
            Self::FilterDescribes => "filter-describes",
            Self::FilterDrops => "filter-drops",
            Self::FilterFetch => "filter-fetch",
            Self::FilterFlood => "filter-flood",
            Self::FilterHandles => "filter-handles",
            Self::FilterHead => "filter-head",
            Self::FilterHoard => "filter-hoard",
            Self::FilterInvalid => "filter-invalid",
            Self::FilterLiar => "filter-liar",
            Self::FilterMute => "filter-mute",
            Self::FilterOpen => "filter-open",
            Self::FilterPass => "filter-pass",
            Self::FilterRot => "filter-rot",
            Self::FilterTasks => "filter-tasks",
            Self::FilterTrickles => "filter-trickles",
            Self::FilterWaits => "filter-waits",
            Self::FilterWords => "filter-words",
            Self::FramingExtra => "framing-extra",
            Self::FramingWasi => "framing-wasi",
            Self::ProbeOther => "probe-other",
            Self::ProbeScript => "probe-script",
            Self::ProbeWasiHttp => "probe-wasi-http",
            Self::SourceFlip => "source-flip",
            Self::SourceIdle => "source-idle",
            Self::SourceLong => "source-long",
            Self::SourceOpen => "source-open",
            Self::SourceRanged => "source-ranged",
            Self::SourceRequests => "source-requests",
            Self::SourceScheme => "source-scheme",
            Self::SourceShort => "source-short",
            Self::SourceSpin => "source-spin",
            Self::SourceTrap => "source-trap",
            Self::SourceWasiHttp02 => "source-wasi-http-02",
            Self::SourceWasiHttp03 => "source-wasi-http-03",
            Self::SourceWasiNosy => "source-wasi-nosy",
        }
    }

    /// The component's file; it must have been built.
    pub fn path(self) -> String {
        let path = folder().join(self.name()).with_extension("wasm");
        assert!(path.is_file(), "{} is not there: run `just fixtures`", path.display());
        path.display().to_string()
    }
}

/// Where the fixtures are built.
pub fn folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")).join("fixtures")
}
