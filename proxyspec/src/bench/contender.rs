//! The proxies that are measured.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::measure::{Field, Measure};
use crate::recipe::{Recipe, Setting};
use crate::template::Template;
use testkit::proxy::Proxy;

/// A proxy to measure, or none.
#[derive(Clone, Debug)]
pub struct Contender {
    /// What it is called, on the command line and in the report.
    pub(super) name: String,
    /// What it is, in a few words.
    pub(super) about: String,
    /// What its program says about its version.
    pub(super) version: String,
    /// `None` is no proxy at all: the clients connect to the origin.
    recipe: Option<Recipe>,
    /// Whether it takes part only where a variant of a program does.
    tuned: bool,
    /// Whether it takes part only if it is named.
    pub(super) on_demand: bool,
    /// How many connections it can serve at once, or is asked to.
    most: usize,
}

/// What the report calls the measurement without a proxy.
pub(super) const DIRECT: &str = "direct";

/// This project's proxy for many clients, as it comes.
pub(super) const OURS: &str = "tcpproxy";

/// The same without splice(2).
pub(super) const COPYING: &str = "tcpproxy-copying";

/// A proxy that is packaged.
struct PackagedProxy {
    name: &'static str,
    /// See `proxyspec/peers`.
    template: &'static str,
    /// Another size of its buffers than usual.
    buffer: Option<&'static str>,
    /// Whether it takes part only where a variant of a program does.
    tuned: bool,
    /// Whether it takes part only if it is named.
    on_demand: bool,
    /// How many connections it is asked to serve at once.
    most: usize,
}

const PLAIN: PackagedProxy =
    PackagedProxy { name: "", template: "", buffer: None, tuned: false, on_demand: false, most: usize::MAX };
const TUNED: PackagedProxy = PackagedProxy { tuned: true, ..PLAIN };
const BUFFERED: PackagedProxy = PackagedProxy { buffer: Some("262144"), ..TUNED };
const OF_FEW: PackagedProxy = PackagedProxy { most: FEW, on_demand: true, ..PLAIN };

const HAPROXY: &str = include_str!("../../peers/haproxy.conf");
const HAPROXY_SPLICE: &str = include_str!("../../peers/haproxy-splice.conf");
const HAPROXY_SPLICE_1M: &str = include_str!("../../peers/haproxy-splice-1m.conf");
const NGINX: &str = include_str!("../../peers/nginx.conf");
const SYSTEMD: &str = include_str!("../../peers/systemd-socket-proxyd.conf");

const PACKAGED: &[PackagedProxy] = &[
    PackagedProxy { name: "haproxy", template: HAPROXY, ..PLAIN },
    PackagedProxy { name: "haproxy-256k", template: HAPROXY, ..BUFFERED },
    PackagedProxy { name: "haproxy-splice-1m", template: HAPROXY_SPLICE_1M, ..TUNED },
    PackagedProxy { name: "nginx", template: NGINX, ..PLAIN },
    PackagedProxy { name: "nginx-256k", template: NGINX, ..BUFFERED },
    PackagedProxy { name: "systemd-socket-proxyd", template: SYSTEMD, on_demand: false, ..OF_FEW },
    PackagedProxy { name: "haproxy-splice", template: HAPROXY_SPLICE, on_demand: true, ..TUNED },
    PackagedProxy { name: "socat", template: include_str!("../../peers/socat-fork.conf"), ..OF_FEW },
    PackagedProxy { name: "rinetd", template: include_str!("../../peers/rinetd.conf"), ..OF_FEW },
    PackagedProxy { name: "redir", template: include_str!("../../peers/redir.conf"), ..OF_FEW },
];

/// A proxy that is not installed, and the package that has it.
pub(super) type NotInstalled = (&'static str, String);

/// How many clients peers serve at once, if they have a setting for it.
const MOST_CLIENTS: &str = "12000";

/// How many connections are asked of those that have a process for each, look at every descriptor each time they wait
/// (select(2)), or need six descriptors for each: with more they would run into the limits of the machine.
const FEW: usize = 1000;

impl Contender {
    fn new(name: &str, about: &str, recipe: Option<Recipe>) -> Self {
        let (name, about) = (name.to_owned(), about.to_owned());
        Self { name, about, version: String::new(), recipe, tuned: false, on_demand: false, most: usize::MAX }
    }

    /// No proxy: the limit for all others.
    pub(super) fn direct() -> Self {
        Self::new(DIRECT, "no proxy: the limit", None)
    }

    /// The modes of this project's proxy, as far as the program has them.
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub(super) fn ours(program: &Path) -> Result<Vec<Self>, String> {
        let run = |argument| {
            let output = Command::new(program).arg(argument).output();
            output
                .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
                .map_err(|error| format!("cannot start {}: {error}; build it first", program.display()))
        };
        let splices = run("--help")?.contains("--splice");
        let version = run("--version")?.trim().to_owned();
        let mode = |name: &str, about: &str, options: &[&str]| {
            let program = program.to_string_lossy();
            let words = [&program, "{host}", "{port}", "{listen}", "--quiet", "--max-clients", "0"];
            let recipe = Recipe::new(words.iter().chain(options).copied());
            let recipe = recipe.expect("all that it needs to know is there");
            Self { version: version.clone(), ..Self::new(name, about, Some(recipe)) }
        };
        let mut modes = vec![mode(OURS, if splices { "splice(2) for bulk" } else { "copying" }, &[])];
        if splices {
            modes.push(Self { tuned: true, ..mode(COPYING, "copying", &["--splice", "never"]) });
        }
        Ok(modes)
    }

    /// The peers that are installed, and the names of those that are not, with their packages.
    ///
    /// # Errors
    ///
    /// When a template is wrong.
    pub(super) fn packaged() -> Result<(Vec<Self>, Vec<NotInstalled>), String> {
        let mut installed = Vec::new();
        let mut missing = Vec::new();
        for peer in PACKAGED {
            let template = Template::new(peer.name, peer.template);
            let Some(version) = template.version() else {
                missing.push((peer.name, template.label("package").unwrap_or_default().to_owned()));
                continue;
            };
            let mut about = template.label("bench").unwrap_or_default().to_owned();
            let mut recipe = template.recipe(None)?.with(Setting::Clients, MOST_CLIENTS);
            if let Some(size) = peer.buffer {
                recipe = recipe.with(Setting::Buffer, size);
                about += &format!(", buffers of {size} B");
            }
            if peer.most == FEW {
                about += &format!("; asked for {FEW} connections at most");
            }
            let PackagedProxy { name, tuned, on_demand, most, .. } = *peer;
            let contender = Self::new(name, &about, Some(recipe));
            installed.push(Self { version, tuned, on_demand, most, ..contender });
        }
        Ok((installed, missing))
    }

    /// Any other proxy: `NAME=COMMAND`, see [`Recipe`] for what the command may contain.
    ///
    /// # Errors
    ///
    /// When there is no name, or the command is not complete.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (name, command) = text.split_once('=').ok_or("it has the form NAME=COMMAND")?;
        Ok(Self::new(name, command, Some(Recipe::new(command.split_whitespace())?)))
    }

    /// Whether it is to be measured by this.
    pub(super) fn takes_part_in(&self, measure: &Measure) -> bool {
        let measured = measure.has_a_limit() || self.recipe.is_some();
        measured && (measure.field == Field::Tuned || !self.tuned) && measure.connections() <= self.most
    }

    /// Its command line without the folders of its program; empty if it has none.
    pub(super) fn command_line(&self) -> String {
        let line = self.recipe.as_ref().map(Recipe::command_line).unwrap_or_default();
        let (program, arguments) = line.split_once(' ').unwrap_or((&line, ""));
        let name = Path::new(program).file_name().unwrap_or_default();
        format!("{} {arguments}", name.to_string_lossy()).trim().to_owned()
    }

    /// Starts it in front of this origin; `None` if it is no proxy.
    ///
    /// # Errors
    ///
    /// When it cannot be started, ends, or does not listen.
    pub(super) fn start(&self, origin: SocketAddr) -> io::Result<Option<Proxy>> {
        self.recipe.as_ref().map(|recipe| recipe.start(&origin.ip().to_string(), origin.port())).transpose()
    }
}
