//! Files that describe a proxy.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::recipe::Recipe;

/// A file that describes a proxy: how it is started, and what else there is to say about it.
///
/// It begins with lines `# label: text`: `command` is the recipe, see [`Recipe::parse`], `version` a command that prints
/// the version, `package` where the program comes from. What follows behind `#` is the description, to the first other line.
///
/// `{+place}` is where an option may be tried, and vanishes if none is. A line `# try: {+place} option` names one;
/// it may fill several places. A line `# with: {+place} option` is what the proxy is [judged](Self::judged) with. In a file,
/// `{here}` is its folder.
///
/// ```
/// use proxyspec::template::Template;
///
/// let text = "# command: socat {+options} TCP-LISTEN:{listen} TCP:{address}\n# try: {+options} -t 5\n#\n# As it is.\n";
/// let template = Template::new("socat", text);
/// assert_eq!(template.description(), "As it is.");
/// assert_eq!(template.recipe(None)?.command_line(), "socat TCP-LISTEN:{listen} TCP:{address}");
/// let option = template.tries().next();
/// assert_eq!(template.recipe(option)?.command_line(), "socat -t 5 TCP-LISTEN:{listen} TCP:{address}");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug)]
pub struct Template {
    name: String,
    text: String,
}

impl Template {
    /// From the text of such a file.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// From a file, by whose name without extension it is called.
    ///
    /// # Errors
    ///
    /// When it cannot be read; with the path.
    pub fn read(file: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let folder = file.parent().unwrap_or(Path::new("")).display().to_string();
        let text = text.replace("{here}", if folder.is_empty() { "." } else { &folder });
        Ok(Self::new(file.file_stem().unwrap_or_default().to_string_lossy(), text))
    }

    /// What to call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text of the first line with this label.
    pub fn label(&self, label: &str) -> Option<&str> {
        self.labels(label).next()
    }

    /// The options to be tried.
    pub fn tries(&self) -> impl Iterator<Item = &str> {
        self.labels("try")
    }

    /// What it says about itself, in one line.
    pub fn description(&self) -> String {
        let comments = self.text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim);
        let words: Vec<_> = comments.filter(|text| labelled(text).is_none() && !text.is_empty()).collect();
        words.join(" ")
    }

    /// The configuration file without what stands above it about the proxy; empty if it needs none.
    pub fn configuration(&self) -> String {
        let lines = self.text.lines().skip_while(|line| line.starts_with('#'));
        lines.map(|line| format!("{line}\n")).collect()
    }

    /// The proxy, with one of the options to be tried or without.
    ///
    /// # Errors
    ///
    /// When the option names no placeholder of the template, and as for [`Recipe::parse`]; with the name.
    pub fn recipe(&self, option: Option<&str>) -> Result<Recipe, String> {
        let text = without_options(&self.text);
        let text = option.map_or_else(|| Ok(text.clone()), |option| with_option(&text, option));
        text.and_then(|text| Recipe::parse(&text)).map_err(|error| format!("{}: {error}", self.name))
    }

    /// The proxy with what serves it best, and maybe one more option: as it is to be judged.
    ///
    /// # Errors
    ///
    /// Those of [`recipe`](Self::recipe).
    pub fn judged(&self, option: Option<&str>) -> Result<Recipe, String> {
        let options: Vec<_> = self.label("with").into_iter().chain(option).collect();
        self.recipe((!options.is_empty()).then(|| options.join(" ")).as_deref())
    }

    /// What its program says about its version: the first line with a number in it. `None` when there is no such program.
    pub fn version(&self) -> Option<String> {
        let mut words = self.label("version")?.split_whitespace();
        let output = Command::new(words.next()?).args(words).stdin(Stdio::null()).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().find(|line| line.contains(|c: char| c.is_ascii_digit()));
        Some(line.unwrap_or_default().trim().to_owned())
    }

    fn labels(&self, label: &str) -> impl Iterator<Item = &str> {
        let comments = self.text.lines().filter_map(|line| labelled(line.strip_prefix('#')?.trim()));
        comments.filter(move |(name, _)| *name == label).map(|(_, text)| text)
    }
}

/// `label: text`, where the label is a word.
fn labelled(comment: &str) -> Option<(&str, &str)> {
    let (label, text) = comment.split_once(':')?;
    let word = !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_lowercase());
    word.then(|| (label, text.trim()))
}

/// The text without the lines that tell of options: what they say is not part of the configuration.
fn without_options(text: &str) -> String {
    let of_option = |line: &str| line.starts_with("# try:") || line.starts_with("# with:");
    text.lines().filter(|line| !of_option(line)).map(|line| format!("{line}\n")).collect()
}

/// The text with every place of the option filled.
fn with_option(text: &str, option: &str) -> Result<String, String> {
    let mut text = text.to_owned();
    let mut fillings = option.split("{+");
    if fillings.next().is_some_and(|before| !before.trim().is_empty()) || !option.contains("{+") {
        return Err(format!("it is not said where to try {option:?}"));
    }
    for filling in fillings {
        let (place, value) = filling.split_once('}').ok_or_else(|| format!("no place ends in {option:?}"))?;
        let place = format!("{{+{place}}}");
        if !text.contains(&place) {
            return Err(format!("there is no {place} for {option:?}"));
        }
        text = text.replace(&place, value.trim());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Setting;

    const TEXT: &str = "\
# command: proxy -c {config} {+options}
# version: no-such-program -v
# try: {+options} -x {+more} a b
# try: {+nowhere} y
#
# Two lines
# about it.
listen {listen} to {host} {port}
log %{+Q}o
  {+more}
";

    #[test]
    fn an_option_is_tried_at_all_of_its_placeholders() {
        let template = Template::new("proxy", TEXT);
        let with = template.recipe(template.tries().next()).unwrap();
        assert_eq!(with.command_line(), "proxy -c {config} -x");
        assert!(format!("{with:?}").contains("a b"));
        let without = template.recipe(None).unwrap();
        assert_eq!(without.command_line(), "proxy -c {config}");
        assert!(!format!("{without:?}").contains("more"), "{without:?}");
    }

    #[test]
    fn it_is_judged_with_its_best_options() {
        let template = Template::new("proxy", TEXT.replace("# version:", "# with: {+more} best\n# version:"));
        let judged = template.judged(Some("{+options} -x")).unwrap();
        assert_eq!(judged.command_line(), "proxy -c {config} -x");
        assert!(format!("{judged:?}").contains("  best"), "{judged:?}");
        assert!(!format!("{:?}", template.recipe(None).unwrap()).contains("  best"));
    }

    #[test]
    fn an_option_that_is_not_tried_is_not_there() {
        let option = "{+options} -t {half_close:3600}";
        let template =
            Template::new("proxy", TEXT.replace("# version:", &format!("# try: {option}\n# version:")));
        assert!(!template.recipe(None).unwrap().takes(Setting::HalfClose));
        assert!(template.recipe(Some(option)).unwrap().takes(Setting::HalfClose));
    }

    #[test]
    fn an_option_without_a_placeholder_is_an_error() {
        let template = Template::new("proxy", TEXT);
        for (option, complaint) in [
            ("{+nowhere} y", "there is no {+nowhere}"),
            ("-x", "it is not said where"),
            ("-x {+more} y", "it is not said where"),
            ("{+more", "no place ends"),
        ] {
            let error = template.recipe(Some(option)).unwrap_err();
            assert!(error.starts_with("proxy: ") && error.contains(complaint), "{error}");
        }
    }

    #[test]
    fn the_words_about_it_are_apart_from_its_configuration() {
        let template = Template::new("proxy", TEXT);
        assert_eq!(template.description(), "Two lines about it.");
        assert_eq!(template.configuration(), "listen {listen} to {host} {port}\nlog %{+Q}o\n  {+more}\n");
        assert_eq!(template.label("package"), None);
        assert_eq!(template.version(), None, "there is no such program");
    }
}
