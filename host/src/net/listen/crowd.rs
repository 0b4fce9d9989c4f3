//! Who is connected, and who makes room where there is none left: somebody who waits for nothing, of those that take most of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::Notify;

/// The connections of one listener.
#[derive(Default)]
pub(super) struct Crowd {
    all: RefCell<BTreeMap<u64, Member>>,
    next: RefCell<u64>,
}

struct Member {
    share: IpAddr,
    /// Since when it asks for nothing; none while a request of it is answered.
    idle_since: Option<Instant>,
    leave: Rc<Notify>,
    asked: bool,
}

impl Member {
    const fn may_leave(&self) -> bool {
        !self.asked && self.idle_since.is_some()
    }
}

/// A connection's place among the others, as long as it is held.
pub(super) struct Place {
    crowd: Rc<Crowd>,
    number: u64,
    leave: Rc<Notify>,
}

/// A request is answered, until this is dropped.
pub(super) struct Answering<'a>(&'a Place);

impl Crowd {
    /// Somebody from `address` is connected.
    pub(super) fn enter(self: &Rc<Self>, address: IpAddr) -> Place {
        let number = {
            let mut next = self.next.borrow_mut();
            *next = next.wrapping_add(1);
            *next
        };
        let leave = Rc::<Notify>::default();
        let idle_since = Some(Instant::now());
        let member = Member { share: share(address), idle_since, leave: Rc::clone(&leave), asked: false };
        self.all.borrow_mut().insert(number, member);
        Place { crowd: Rc::clone(self), number, leave }
    }

    /// Asks somebody to leave who asks for nothing: of the address that has the most of such connections, whoever has been idle
    /// longest. What is answered does not count: it could not be given back, and behind one address may be many. Says whether
    /// there was anybody.
    pub(super) fn make_room(&self) -> bool {
        let mut all = self.all.borrow_mut();
        let mut shares: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for member in all.values().filter(|member| member.may_leave()) {
            *shares.entry(member.share).or_default() += 1;
        }
        let idle = all.values_mut().filter(|member| member.may_leave());
        let taking = |member: &Member| shares.get(&member.share).copied().unwrap_or_default();
        let longest = idle.max_by_key(|member| (taking(member), std::cmp::Reverse(member.idle_since)));
        let Some(member) = longest else { return false };
        member.asked = true;
        member.leave.notify_one();
        true
    }

    fn is_idle(&self, number: u64, since: Option<Instant>) {
        if let Some(member) = self.all.borrow_mut().get_mut(&number) {
            member.idle_since = since;
        }
    }
}

impl Place {
    /// Resolves once it is to leave.
    pub(super) async fn is_wanted(&self) {
        self.leave.notified().await;
    }

    /// A request of it is answered: it stays.
    pub(super) fn answering(&self) -> Answering<'_> {
        self.crowd.is_idle(self.number, None);
        Answering(self)
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.crowd.is_idle(self.0.number, Some(Instant::now()));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.all.borrow_mut().remove(&self.number);
    }
}

/// What one client has for itself: an address, or of IPv6 the network that it is alone in (RFC 6177).
fn share(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            [a, b, c, d, 0, 0, 0, 0].into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn is_asked(place: &Place) -> bool {
        tokio::time::timeout(Duration::from_millis(1), place.is_wanted()).await.is_ok()
    }

    #[tokio::test]
    async fn who_has_the_most_and_waits_longest_makes_room() {
        let crowd = Rc::<Crowd>::default();
        let enter = |address: &str| crowd.enter(address.parse().unwrap());
        let alone = enter("10.0.0.1");
        let many = [enter("10.0.0.2"), enter("10.0.0.2"), enter("10.0.0.2")];
        let answering = many[0].answering();
        assert!(crowd.make_room());
        assert!(is_asked(&many[1]).await, "the first is answered");
        assert!(!is_asked(&many[2]).await && !is_asked(&alone).await);
        drop(answering);
        assert!(crowd.make_room());
        assert!(is_asked(&many[2]).await, "the first has only just asked for something");
        assert!(crowd.make_room());
        assert!(is_asked(&alone).await, "one each, and it has waited longer");
        assert!(crowd.make_room() && is_asked(&many[0]).await);
        assert!(!crowd.make_room(), "all were asked");
        drop((alone, many));
        assert!(crowd.all.borrow().is_empty());
    }

    #[tokio::test]
    async fn what_is_answered_takes_no_room_from_its_address() {
        let crowd = Rc::<Crowd>::default();
        let enter = |address: &str| crowd.enter(address.parse().unwrap());
        let ingress = [enter("10.0.0.1"), enter("10.0.0.1"), enter("10.0.0.1")];
        let _answered = [ingress[0].answering(), ingress[1].answering()];
        let idle = [enter("10.0.0.2"), enter("10.0.0.2")];
        assert!(crowd.make_room());
        assert!(is_asked(&idle[0]).await && !is_asked(&ingress[2]).await);
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let share = |address: &str| share(address.parse().unwrap());
        assert_eq!(share("2001:db8:1:2:3:4:5:6"), share("2001:db8:1:2:ffff::"));
        assert_ne!(share("2001:db8:1:2::1"), share("2001:db8:1:3::1"));
        assert_eq!(share("::ffff:10.0.0.1"), share("10.0.0.1"));
        assert_ne!(share("10.0.0.1"), share("10.0.0.2"));
    }
}
