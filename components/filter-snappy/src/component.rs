//! Glue to the `filter-component` world.

#![allow(unsafe_code, reason = "the generated export glue of a component")]

use filter_glue::filter_component;

use crate::Snappy;

filter_component!(["sz"], Snappy::new);
