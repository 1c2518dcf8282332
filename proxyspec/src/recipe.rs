//! How a proxy of any make is started: its command line, and maybe a configuration file.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;

use clap::ValueEnum;
use testkit::proxy::{Proxy, ProxyCommand, free_port};

/// How often another port is tried, when another socket takes the one that was free.
const ATTEMPTS: usize = 3;

/// How to start a proxy of any make: a command line, and maybe a configuration file.
///
/// In the words of the command and in the configuration, `{host}` and `{port}` stand for the server to forward to, and
/// `{address}` for both, as `host:port` or `[host]:port`; `{listen}` for the port to listen on, `{dir}` for a directory of
/// its own that is removed at the end. In the command, `{config}` is the path of the configuration file. There is no shell.
///
/// Some things can be asked of a proxy only if its recipe says where they go, and what is usual: `{half_close:3600}` is
/// the time in seconds after which a silent half-closed session is ended, and 3600 unless a test asks for another one,
/// see [`Setting`].
///
/// The command must stay in the foreground; its outputs are read all the time.
///
/// ```
/// use proxyspec::recipe::Recipe;
///
/// let recipe = Recipe::new(["socat", "TCP-LISTEN:{listen},reuseaddr,fork", "TCP:{host}:{port}"])?;
/// assert!(Recipe::new(["socat", "TCP-LISTEN:{listen}", "TCP:{host}"]).is_err(), "it says no {{port}}");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug)]
pub struct Recipe {
    words: Vec<String>,
    configuration: Option<String>,
}

impl Recipe {
    /// A proxy that needs no configuration file.
    ///
    /// # Errors
    ///
    /// When there is no command, or one of `{host} {port} {listen}` is missing in it.
    pub fn new<W: Into<String>>(words: impl IntoIterator<Item = W>) -> Result<Self, String> {
        Self::checked(words, None)
    }

    /// A proxy with a configuration file of this text.
    ///
    /// # Errors
    ///
    /// When there is no command, `{config}` is missing in it, or one of `{host} {port} {listen}` is missing in both.
    pub fn with_configuration<W: Into<String>>(
        words: impl IntoIterator<Item = W>,
        configuration: impl Into<String>,
    ) -> Result<Self, String> {
        Self::checked(words, Some(without_places(&configuration.into())))
    }

    /// A proxy described by a text, see [`Template`](crate::template::Template): a line `# command: …`, whose words are
    /// separated by blanks, and if one of them is `{config}`, the text itself is the configuration. Places where an option
    /// may be tried stay empty.
    ///
    /// # Errors
    ///
    /// When it has no such line, and as for [`new`](Self::new) and
    /// [`with_configuration`](Self::with_configuration).
    pub fn parse(text: &str) -> Result<Self, String> {
        let command = text.lines().find_map(|line| line.strip_prefix("# command:"));
        let command = without_places(command.ok_or("there is no line `# command: …`")?);
        let configuration = command.contains("{config}").then(|| without_places(text));
        Self::checked(command.split_whitespace(), configuration)
    }

    /// Whether this can be asked of the proxy.
    pub fn takes(&self, setting: Setting) -> bool {
        let texts = self.words.iter().chain(&self.configuration);
        texts.into_iter().any(|text| usual(text, setting).is_some())
    }

    /// The same proxy with another value for a setting.
    #[must_use]
    pub fn with(&self, setting: Setting, value: impl Into<String>) -> Self {
        let value = value.into();
        self.map(|text| settle(text, setting, Some(&value)))
    }

    /// The same command, started by another one: a word more in front of it for each of these.
    #[must_use]
    pub fn inside<W: Into<String>>(&self, words: impl IntoIterator<Item = W>) -> Self {
        let words = words.into_iter().map(Into::into).chain(self.words.clone()).collect();
        Self { words, configuration: self.configuration.clone() }
    }

    /// The same with this text wherever `place` is, such as `{listen}`: for a proxy that has to report the mistake.
    #[must_use]
    pub fn saying(&self, place: &str, text: &str) -> Self {
        self.map(|said| said.replace(place, text))
    }

    fn map(&self, change: impl Fn(&str) -> String) -> Self {
        let words = self.words.iter().map(|word| change(word)).collect();
        Self { words, configuration: self.configuration.as_deref().map(change) }
    }

    /// The same without the last word for the server: for a proxy that has to report the mistake.
    #[must_use]
    pub fn without_server(&self) -> Self {
        let mut recipe = self.clone();
        let places = ["{host}", "{port}", "{address}", "{config}"];
        let says = |word: &String| places.iter().any(|place| word.contains(place));
        if let Some(last) = recipe.words.iter().rposition(says) {
            recipe.words.remove(last);
        }
        recipe
    }

    /// The command line as text.
    pub fn command_line(&self) -> String {
        self.words.join(" ")
    }

    /// Starts the proxy on a free port, to forward to `host` and `port`, and waits until it listens.
    ///
    /// # Errors
    ///
    /// When it cannot be started, ends, or does not listen; with what it wrote.
    pub fn start(&self, host: &str, port: u16) -> io::Result<Proxy> {
        let is_taken =
            |error: &io::Error| error.to_string().to_lowercase().contains("address already in use");
        for _ in 1..ATTEMPTS {
            let outcome = self.start_on(host, port, free_port()?);
            if !outcome.as_ref().is_err_and(is_taken) {
                return outcome;
            }
        }
        self.start_on(host, port, free_port()?)
    }

    /// The same, on this port.
    ///
    /// # Errors
    ///
    /// When it cannot be started, ends, or does not listen; with what it wrote.
    pub fn start_on(&self, host: &str, port: u16, listen: u16) -> io::Result<Proxy> {
        self.command(host, port, listen)?.start_on(listen)
    }

    /// Starts the proxy and waits for nothing: for one that is to fail.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn spawn_on(&self, host: &str, port: u16, listen: u16) -> io::Result<Proxy> {
        self.command(host, port, listen)?.spawn()
    }

    fn command(&self, host: &str, port: u16, listen: u16) -> io::Result<ProxyCommand> {
        let directory = tempfile::Builder::new().prefix("proxyspec-").tempdir()?;
        let file = directory.path().join("config");
        let places = Places { host, port, listen, directory: directory.path() };
        if let Some(configuration) = &self.configuration {
            fs::write(&file, places.fill(configuration))?;
        }
        let mut words =
            self.words.iter().map(|word| places.fill(word).replace("{config}", &file.to_string_lossy()));
        let program = words.next().expect("a recipe has a command");
        Ok(Proxy::command(program).args(words).leading_a_group().owning(directory.keep()))
    }

    fn checked<W: Into<String>>(
        words: impl IntoIterator<Item = W>,
        configuration: Option<String>,
    ) -> Result<Self, String> {
        let recipe = Self { words: words.into_iter().map(Into::into).collect(), configuration };
        if recipe.words.is_empty() {
            return Err("no command is given".to_owned());
        }
        let command = recipe.command_line();
        if recipe.configuration.is_some() && !command.contains("{config}") {
            return Err("the command does not say {config}".to_owned());
        }
        if recipe.configuration.is_none() && command.contains("{config}") {
            return Err("the command says {config}, and there is no configuration".to_owned());
        }
        let everything = command + recipe.configuration.as_deref().unwrap_or_default();
        let everything = everything.replace("{address}", "{host}{port}");
        let mut missing = vec!["{host}", "{port}", "{listen}"];
        missing.retain(|place| !everything.contains(place));
        if missing.is_empty() {
            Ok(recipe)
        } else {
            Err(format!("the command line lacks {}", missing.join(" ")))
        }
    }
}

/// What the places in a recipe stand for.
struct Places<'a> {
    host: &'a str,
    port: u16,
    listen: u16,
    directory: &'a Path,
}

impl Places<'_> {
    fn fill(&self, text: &str) -> String {
        let settled = |text: String, setting: &Setting| settle(&text, *setting, None);
        let text = Setting::value_variants().iter().fold(text.to_owned(), settled);
        let bracketed =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_owned() };
        text.replace("{address}", &format!("{bracketed}:{}", self.port))
            .replace("{host}", self.host)
            .replace("{port}", &self.port.to_string())
            .replace("{listen}", &self.listen.to_string())
            .replace("{dir}", &self.directory.to_string_lossy())
    }
}

/// What can be asked of a proxy whose recipe says where it goes, as `{name:usual}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Setting {
    /// `{half_close:…}`: the seconds after which a silent session is ended of which one direction has ended.
    HalfClose,
    /// `{connect:…}`: the seconds that reaching the server may take.
    Connect,
    /// `{drain:…}`: the seconds that sessions may go on after SIGTERM.
    Drain,
    /// `{clients:…}`: how many clients are served at once.
    Clients,
    /// `{buffer:…}`: the bytes of a buffer.
    Buffer,
}

impl Setting {
    /// Its name in a recipe.
    pub fn name(self) -> String {
        self.to_possible_value().expect("no setting is hidden").get_name().to_owned()
    }
}

/// Where the first `{name:usual}` of this setting is, and what is usual.
fn usual(text: &str, setting: Setting) -> Option<(Range<usize>, &str)> {
    let opening = format!("{{{}:", setting.name());
    let start = text.find(&opening)?;
    let value = text[start + opening.len()..].split_once('}')?.0;
    Some((start..start + opening.len() + value.len() + 1, value))
}

/// Puts `value`, or what is usual, in all places of this setting.
fn settle(text: &str, setting: Setting, value: Option<&str>) -> String {
    let mut text = text.to_owned();
    while let Some((place, usual)) = usual(&text, setting) {
        let value = value.unwrap_or(usual).to_owned();
        text.replace_range(place, &value);
    }
    text
}

/// The text without the places for options; those have lower-case names, unlike what HAProxy means by `%{+Q}`.
fn without_places(text: &str) -> String {
    let mut rest = text;
    let mut result = String::new();
    while let Some((before, after)) = rest.split_once("{+") {
        result += before;
        match after.split_once('}') {
            Some((name, behind)) if name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => {
                rest = behind;
            }
            _ => {
                result += "{+";
                rest = after;
            }
        }
    }
    result + rest
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_a_proxy_says_of_its_own_directory_is_the_same_each_time() {
        let words = ["sh", "-c", "echo 127.0.0.1:{listen} {host} {port}: error in {dir}/config:7"];
        let proxy = Recipe::new(words).unwrap().spawn_on("localhost", 1, 2).unwrap();
        let said = proxy.wait_for_line(Duration::from_secs(30), |_| true).unwrap();
        assert_eq!(said, "127.0.0.1:2 localhost 1: error in {dir}/config:7");
    }
}
