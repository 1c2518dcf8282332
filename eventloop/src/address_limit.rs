//! How many clients one address may have.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

/// The limit on the clients of one address, and how many each has now. An address without a client takes no memory, so
/// the number of clients bounds it.
///
/// ```
/// use std::rc::Rc;
/// use eventloop::AddressLimit;
///
/// let limit = Rc::new(AddressLimit::new(Some(1)));
/// let address = [192, 0, 2, 1].into();
/// let permit = limit.admit(address).expect("it is the first client of this address");
/// assert!(limit.admit(address).is_none());
/// drop(permit); // the client has left
/// assert!(limit.admit(address).is_some());
/// ```
#[derive(Debug)]
pub struct AddressLimit {
    max: Option<usize>,
    clients: RefCell<HashMap<IpAddr, usize>>,
}

/// The right of one client of an address to be served, until it is dropped.
#[must_use = "another client of the address is admitted as soon as this is dropped"]
#[derive(Debug)]
pub struct AddressPermit(Option<Box<(Rc<AddressLimit>, IpAddr)>>); // boxed: most proxies have no limit

impl AddressLimit {
    /// At most `max` clients of each address at once. With `None` there is no limit, and nothing is counted.
    #[must_use]
    pub fn new(max: Option<usize>) -> Self {
        Self { max, clients: RefCell::default() }
    }

    /// Whether a client may be denied.
    #[must_use]
    pub fn is_restrictive(&self) -> bool {
        self.max.is_some()
    }

    /// One more client of this address; `None` if the address has as many as it may, or there is no memory to count the
    /// client. An IPv4 address that is mapped into IPv6 is the IPv4 address.
    pub fn admit(self: &Rc<Self>, ip: IpAddr) -> Option<AddressPermit> {
        let Some(max) = self.max else { return Some(AddressPermit::unlimited()) };
        let ip = ip.to_canonical();
        let mut clients = self.clients.borrow_mut();
        let count = clients.get(&ip).map_or(1, |count| count + 1);
        if count > max {
            return None;
        }
        clients.try_reserve(1).ok()?; // without memory to count it, a client is not admitted
        clients.insert(ip, count);
        Some(AddressPermit(Some(Box::new((self.clone(), ip)))))
    }
}

impl AddressPermit {
    /// The permit of a client whose address is not known yet, or does not count.
    pub fn unlimited() -> Self {
        Self(None)
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let Some((limit, ip)) = self.0.as_deref() else { return };
        let mut clients = limit.clients.borrow_mut();
        if let Some(count) = clients.get_mut(ip) {
            *count -= 1;
            if *count == 0 {
                clients.remove(ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_as_many_clients_as_it_may_and_another_one_again_when_one_has_left() {
        let limit = Rc::new(AddressLimit::new(Some(2)));
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = limit.admit(ip("192.0.2.1")).unwrap();
        let second = limit.admit(ip("::ffff:192.0.2.1")).unwrap();
        assert!(limit.admit(ip("192.0.2.1")).is_none());
        let other = limit.admit(ip("192.0.2.2")).unwrap();
        drop(first);
        let third = limit.admit(ip("192.0.2.1")).unwrap();
        assert!(limit.admit(ip("192.0.2.1")).is_none());
        drop((second, third, other));
        assert!(limit.clients.borrow().is_empty(), "an address without a client takes no memory");
    }

    /// The command line takes no limit of 0, but a library's caller may set one.
    #[test]
    fn a_limit_of_none_admits_no_client_and_keeps_nothing_of_it() {
        let limit = Rc::new(AddressLimit::new(Some(0)));
        assert!(limit.admit([192, 0, 2, 1].into()).is_none());
        assert!(limit.clients.borrow().is_empty());
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let limit = Rc::new(AddressLimit::new(None));
        let permits: Vec<_> = (0..1000).map(|_| limit.admit([192, 0, 2, 1].into()).unwrap()).collect();
        assert!(limit.clients.borrow().is_empty() && permits.len() == 1000);
    }
}
