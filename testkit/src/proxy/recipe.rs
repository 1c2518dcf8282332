use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use crate::proxy::{Proxy, free_port};

/// How often another port is tried, when somebody takes the one that was free.
const ATTEMPTS: usize = 3;

/// How to start a proxy of any make: a command line, and maybe a configuration file.
///
/// In the words of the command and in the configuration, `{host}` and `{port}` stand for the server to forward to,
/// `{listen}` for the port to listen on, `{dir}` for a directory of its own that is removed at the end. In the command,
/// `{config}` is the path of the configuration file. There is no shell.
///
/// The command must stay in the foreground; its outputs are read all the time.
///
/// ```
/// use testkit::proxy::Recipe;
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
        Self::checked(words, Some(configuration.into()))
    }

    /// A proxy described by a file: a line `# command: …`, whose words are separated by blanks, and if one of them is
    /// `{config}`, the file itself is the configuration.
    ///
    /// # Errors
    ///
    /// When it cannot be read, has no such line, or the like of [`new`](Self::new) and
    /// [`with_configuration`](Self::with_configuration); with the path.
    pub fn read(file: &Path) -> Result<Self, String> {
        let named = |error: String| format!("{}: {error}", file.display());
        let text = fs::read_to_string(file).map_err(|error| named(error.to_string()))?;
        let command = text.lines().find_map(|line| line.strip_prefix("# command:"));
        let command = command.ok_or_else(|| named("there is no line `# command: …`".to_owned()))?;
        let configuration = command.contains("{config}").then(|| text.clone());
        Self::checked(command.split_whitespace(), configuration).map_err(named)
    }

    /// The command line, for people.
    pub fn command_line(&self) -> String {
        self.words.join(" ")
    }

    /// Starts the proxy on a free port, to forward to `host` and `port`, and waits until it listens.
    ///
    /// # Errors
    ///
    /// When it cannot be started, ends, or does not listen; with what it wrote.
    pub fn start(&self, host: &str, port: u16) -> io::Result<Proxy> {
        let mut outcome = self.start_on(host, port, free_port()?);
        for _ in 1..ATTEMPTS {
            match &outcome {
                Err(error) if error.to_string().to_lowercase().contains("address already in use") => {
                    outcome = self.start_on(host, port, free_port()?);
                }
                _ => break,
            }
        }
        outcome
    }

    /// The same, on this port.
    ///
    /// # Errors
    ///
    /// When it cannot be started, ends, or does not listen; with what it wrote.
    pub fn start_on(&self, host: &str, port: u16, listen: u16) -> io::Result<Proxy> {
        self.spawn_on(host, port, listen)?.listening_on(listen)
    }

    /// Starts the proxy and waits for nothing: for one that is to fail.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn spawn_on(&self, host: &str, port: u16, listen: u16) -> io::Result<Proxy> {
        let directory = tempfile::Builder::new().prefix("testkit-").tempdir()?;
        let file = directory.path().join("config");
        let places = Places { host, port, listen, directory: directory.path() };
        if let Some(configuration) = &self.configuration {
            fs::write(&file, places.fill(configuration))?;
        }
        let mut words =
            self.words.iter().map(|word| places.fill(word).replace("{config}", &file.to_string_lossy()));
        let program = words.next().expect("a recipe has a command");
        Proxy::command(program).args(words).leading_a_group().spawn_with(Some(directory))
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
        let missing = ["{host}", "{port}", "{listen}"].iter().filter(|place| !everything.contains(**place));
        let missing = missing.fold(String::new(), |mut text, place| {
            let _ = write!(text, " {place}"); // writing to a string does not fail
            text
        });
        if missing.is_empty() { Ok(recipe) } else { Err(format!("the proxy is not told{missing}")) }
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
        text.replace("{host}", self.host)
            .replace("{port}", &self.port.to_string())
            .replace("{listen}", &self.listen.to_string())
            .replace("{dir}", &self.directory.to_string_lossy())
    }
}
