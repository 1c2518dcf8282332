use std::collections::HashMap;
use std::io;

use rustix::process::{Resource, Rlimit};

use crate::descriptors::{lower_limit, set_limits};
use crate::proxy::Proxy;

/// A proxy that can open no further descriptor, until this is [relieved](Self::relieve) or dropped.
#[derive(Debug)]
#[must_use = "dropping it gives the descriptors back"]
pub struct Exhausted<'a> {
    proxy: &'a Proxy,
    /// What each process was allowed before.
    before: HashMap<u32, Rlimit>,
}

impl<'a> Exhausted<'a> {
    pub(super) fn new(proxy: &'a Proxy) -> io::Result<Self> {
        let mut exhausted = Self { proxy, before: HashMap::new() };
        for process in proxy.processes()?.iter().filter(|process| !process.ended) {
            // The numbers below are taken, as long as nothing is closed. A limit below what is open would make poll(2)
            // fail, which a lack of descriptors does not.
            let limit = process.descriptors()? as u64;
            exhausted.before.insert(process.pid, lower_limit(process.pid, Resource::Nofile, limit)?);
        }
        Ok(exhausted)
    }

    /// Allows again what was allowed before. A process that was started meanwhile may have what the first one may.
    ///
    /// # Errors
    ///
    /// When the proxy has ended.
    pub fn relieve(mut self) -> io::Result<()> {
        self.give_back()
    }

    fn give_back(&mut self) -> io::Result<()> {
        let first = self.before.get(&self.proxy.pid()).copied();
        for process in self.proxy.processes()?.iter().filter(|process| !process.ended) {
            if let Some(limits) = self.before.remove(&process.pid).or(first) {
                set_limits(process.pid, Resource::Nofile, limits)?;
            }
        }
        Ok(())
    }
}

impl Drop for Exhausted<'_> {
    fn drop(&mut self) {
        // A proxy that has ended needs nothing.
        let _ = self.give_back();
    }
}
