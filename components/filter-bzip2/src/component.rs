//! Glue to the `filter-component` world.

#![allow(unsafe_code, reason = "the generated export glue of a component")]

use filter_glue::filter_component;

use crate::Bzip2;

filter_component!(["bz2", "tbz2"], Bzip2::new);
