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
    takes_part: TakesPart,
}

/// In which measures a contender takes part.
#[derive(Clone, Copy, Debug)]
struct TakesPart {
    /// Only where a variant of a program does.
    tuned: bool,
    /// Only if it is named.
    on_demand: bool,
    /// How many connections it can serve at once, or is asked to.
    most: usize,
}

/// What the report calls the measurement without a proxy.
pub(super) const DIRECT: &str = "direct";

/// This project's proxy for many clients, with its defaults.
pub(super) const OURS: &str = "tcpproxy";

/// The same without splice(2).
pub(super) const COPYING: &str = "tcpproxy-copying";

const PLAIN: TakesPart = TakesPart { tuned: false, on_demand: false, most: usize::MAX };
const TUNED: TakesPart = TakesPart { tuned: true, ..PLAIN };
const WITH_FEW: TakesPart = TakesPart { most: FEW, ..PLAIN };
const ON_DEMAND: TakesPart = TakesPart { on_demand: true, ..WITH_FEW };

const HAPROXY: &str = include_str!("../../peers/haproxy.conf");
const HAPROXY_SPLICE: &str = include_str!("../../peers/haproxy-splice.conf");
const HAPROXY_SPLICE_1M: &str = include_str!("../../peers/haproxy-splice-1m.conf");
const NGINX: &str = include_str!("../../peers/nginx.conf");
const SYSTEMD: &str = include_str!("../../peers/systemd-socket-proxyd.conf");

/// The proxies that are packaged: the name, the template of `proxyspec/peers`, and the bytes of its buffers if they are not
/// as usual.
const PACKAGED: &[(&str, &str, Option<&str>, TakesPart)] = &[
    ("haproxy", HAPROXY, None, PLAIN),
    ("haproxy-256k", HAPROXY, Some("262144"), TUNED),
    ("haproxy-splice-1m", HAPROXY_SPLICE_1M, None, TUNED),
    ("nginx", NGINX, None, PLAIN),
    ("nginx-256k", NGINX, Some("262144"), TUNED),
    ("systemd-socket-proxyd", SYSTEMD, None, WITH_FEW),
    ("haproxy-splice", HAPROXY_SPLICE, None, TakesPart { on_demand: true, ..TUNED }),
    ("socat", include_str!("../../peers/socat-fork.conf"), None, ON_DEMAND),
    ("rinetd", include_str!("../../peers/rinetd.conf"), None, ON_DEMAND),
    ("redir", include_str!("../../peers/redir.conf"), None, ON_DEMAND),
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
        Self { name, about, version: String::new(), recipe, takes_part: PLAIN }
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
            modes.push(Self { takes_part: TUNED, ..mode(COPYING, "copying", &["--splice", "never"]) });
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
        for &(name, template, buffer, takes_part) in PACKAGED {
            let template = Template::new(name, template);
            let Some(version) = template.version() else {
                missing.push((name, template.label("package").unwrap_or_default().to_owned()));
                continue;
            };
            let mut about = template.label("bench").unwrap_or_default().to_owned();
            let mut recipe = template.recipe(None)?.with(Setting::Clients, MOST_CLIENTS);
            if let Some(size) = buffer {
                recipe = recipe.with(Setting::Buffer, size);
                about += &format!(", buffers of {size} B");
            }
            if takes_part.most == FEW {
                about += &format!("; asked for {FEW} connections at most");
            }
            installed.push(Self { version, takes_part, ..Self::new(name, &about, Some(recipe)) });
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

    /// Whether it takes part only if it is named.
    pub(super) const fn is_on_demand(&self) -> bool {
        self.takes_part.on_demand
    }

    /// Whether it is to be measured by this.
    pub(super) fn takes_part_in(&self, measure: &Measure) -> bool {
        let TakesPart { tuned, most, .. } = self.takes_part;
        let measured = measure.has_a_limit() || self.recipe.is_some();
        measured && (measure.field == Field::Tuned || !tuned) && measure.connections() <= most
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
