//! The proxy that a command is about: one to be started, or one that runs already.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::Args;
use proxyspec::conform::Subject;
use proxyspec::recipe::Recipe;
use proxyspec::template::Template;

// No documentation here: it would become that of the command.
#[derive(Debug, Args)]
pub(crate) struct SubjectArguments {
    /// A configuration file for the proxy, in which the same places are filled; {config} names it in the command.
    /// Without a command, its line `# command: …` is the command
    #[arg(long, value_name = "TEMPLATE")]
    config: Option<PathBuf>,

    /// Judge a running proxy, whose clients connect here
    #[arg(long, value_name = "HOST:PORT", requires = "origin_listen", conflicts_with_all = ["command", "config"])]
    address: Option<String>,

    /// Listen here as the server of a running proxy
    #[arg(long, value_name = "ADDR:PORT", requires = "address")]
    origin_listen: Option<SocketAddr>,

    /// The program and its arguments: {host} and {port} stand for the server to forward to, {listen} for the port to
    /// listen on
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl SubjectArguments {
    /// The proxy, and what to call it.
    pub(crate) fn subject(&self) -> Result<(Subject, String), String> {
        if let (Some(address), Some(origin)) = (&self.address, self.origin_listen) {
            let resolved = address.to_socket_addrs().map_err(|error| format!("{address}: {error}"))?;
            let proxy = resolved.into_iter().next().ok_or_else(|| format!("{address} has no address"))?;
            return Ok((Subject::Running { proxy, origin }, format!("{address} in front of {origin}")));
        }
        let words = self.command.iter();
        let recipe = match &self.config {
            Some(file) if self.command.is_empty() => Template::read(file)?.judged(None)?,
            Some(file) => {
                let text =
                    fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
                Recipe::with_configuration(words, text)?
            }
            None => Recipe::new(words)?,
        };
        let name = recipe.command_line();
        Ok((Subject::Command(recipe), name))
    }

    /// These arguments again, for a shell.
    pub(crate) fn words(&self) -> String {
        let mut words = Vec::new();
        if let Some(config) = &self.config {
            words.extend(["--config".to_owned(), quoted(&config.display().to_string())]);
        }
        if let (Some(address), Some(origin)) = (&self.address, self.origin_listen) {
            words.extend(
                ["--address", address, "--origin-listen", &origin.to_string()].map(ToOwned::to_owned),
            );
        }
        if !self.command.is_empty() {
            words.push("--".to_owned());
            words.extend(self.command.iter().map(|word| quoted(word)));
        }
        words.join(" ")
    }
}

/// For a shell.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,+@{}".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
