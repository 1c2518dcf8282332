//! Names that mean what a case wants them to mean, for the proxy alone.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::conform::Stop;
use crate::recipe::Recipe;

/// A host that only a proxy started [inside](Self::inside) knows: it sees another `/etc/hosts`, hosts(5), in a mount
/// namespace of its own.
#[derive(Debug)]
pub(super) struct PrivateHost {
    directory: TempDir,
}

impl PrivateHost {
    /// A top-level domain that does not exist, RFC 6761, section 6.2.
    pub(super) const NAME: &str = "origin.test";

    /// The host with these addresses.
    ///
    /// # Errors
    ///
    /// [`Stop::NotApplicable`] where the system allows no namespace, or does not look into that file.
    pub(super) fn new(addresses: &[IpAddr]) -> Result<Self, Stop> {
        let directory = tempfile::tempdir()?;
        let mut hosts = "127.0.0.1 localhost\n".to_owned();
        for address in addresses {
            let _ = writeln!(hosts, "{address} {}", Self::NAME); // writing to a string does not fail
        }
        fs::write(directory.path().join(HOSTS), hosts)?;
        let host = Self { directory };
        host.check(addresses)?;
        Ok(host)
    }

    /// The proxy where the host is known.
    pub(super) fn inside(&self, recipe: &Recipe) -> Recipe {
        recipe.inside(namespace(self.directory.path()))
    }

    /// Asks the resolver the way most programs do.
    fn check(&self, addresses: &[IpAddr]) -> Result<(), Stop> {
        let not_applicable = |why: &str| {
            Err(Stop::NotApplicable(format!("a name cannot be given addresses here: {}", why.trim())))
        };
        let words =
            namespace(self.directory.path()).chain(["getent", "ahosts", Self::NAME].map(str::to_owned));
        let words: Vec<_> = words.collect();
        let output = Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).output();
        let output = match output {
            Ok(output) => output,
            Err(error) => return not_applicable(&format!("{}: {error}", words[0])),
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let found = text.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok());
        if found.collect::<BTreeSet<IpAddr>>() == addresses.iter().copied().collect() {
            return Ok(());
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        not_applicable(if complaint.is_empty() { "getent(1) does not find them" } else { &complaint })
    }
}

/// The file that stands in for `/etc/hosts`, in the directory of the host.
const HOSTS: &str = "hosts";

/// The words in front of a command that let it see that file; they have the process id it would have without them.
fn namespace(directory: &Path) -> impl Iterator<Item = String> {
    let hosts = directory.join(HOSTS).display().to_string();
    let script = r#"mount --bind "$0" /etc/hosts && exec "$@""#;
    ["unshare", "--mount", "sh", "-c", script].map(str::to_owned).into_iter().chain([hosts])
}
