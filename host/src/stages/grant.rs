//! Which origins a source component may ask: SOURCE's own, and each that a 3xx to one of its requests named.

use crate::policy::Origin;

/// The most origins that redirects of one `open` or `read` may add.
pub(super) const MAX_HOPS: usize = 10;

/// The origins of one source.
#[derive(Debug, Default)]
pub(super) struct Origins {
    granted: Vec<Origin>,
    hops: usize,
}

impl Origins {
    /// Only SOURCE's origin; none for a location without a host.
    pub(super) fn of(source: Option<Origin>) -> Self {
        Self { granted: source.into_iter().collect(), hops: 0 }
    }

    /// A new `open` or `read`: it has all its hops before it.
    pub(super) const fn reset_hops(&mut self) {
        self.hops = 0;
    }

    /// Whether it may be asked.
    pub(super) fn allows(&self, origin: &Origin) -> bool {
        self.granted.contains(origin)
    }

    /// A redirect named this origin. Says whether that is still within the hops.
    pub(super) fn redirected_to(&mut self, origin: Origin) -> bool {
        self.hops = self.hops.saturating_add(1);
        if self.hops > MAX_HOPS {
            return false;
        }
        if !self.granted.contains(&origin) {
            self.granted.push(origin);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Origin {
        Origin::of(&url::Url::parse(url).unwrap()).unwrap()
    }

    #[test]
    fn only_what_was_named_may_be_asked() {
        let mut origins = Origins::of(Some(origin("https://a.example/")));
        assert!(origins.allows(&origin("https://a.example/x")));
        for url in ["https://a.example:444/", "http://a.example/", "https://b.example/"] {
            assert!(!origins.allows(&origin(url)), "{url}");
        }
        assert!(origins.redirected_to(origin("https://b.example/")));
        assert!(origins.allows(&origin("https://b.example/y")));
        assert!(!Origins::of(None).allows(&origin("https://a.example/")));
    }

    #[test]
    fn the_hops_of_one_read_are_bounded() {
        let mut origins = Origins::of(None);
        let next = |n: usize| origin(&format!("https://h{n}.example/"));
        assert!((0..MAX_HOPS).all(|n| origins.redirected_to(next(n))));
        assert!(!origins.redirected_to(next(11)));
        origins.reset_hops();
        assert!(origins.redirected_to(next(12)));
    }
}
