//! What the documents say about the repository is so: folders, dependencies, files, links, make targets, tests, options.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::{code, read, root, sources};

/// Written by hand; `docs/conformance.md` and `docs/performance.md` are written by programs.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "docs/design.md",
    "docs/errors.md",
    "docs/log.md",
    "docs/milestones.md",
    "docs/operations.md",
    "docs/testing.md",
    "docs/webproxy.md",
    "fuzz/README.md",
    "proxyspec/peers/README.md",
];

/// The text between backticks, and the lines of indented blocks.
fn code_in(document: &str) -> Vec<&str> {
    let (blocks, prose): (Vec<&str>, Vec<&str>) = document.lines().partition(|line| line.starts_with("    "));
    let spans = prose.into_iter().flat_map(|line| line.split('`').skip(1).step_by(2));
    blocks.into_iter().map(str::trim).chain(spans).collect()
}

/// Runs `check` on each piece of code in each document, and fails with those about which it says something.
#[track_caller]
fn for_each_code(check: impl Fn(&str, &str) -> Option<String>) {
    let mut wrong = Vec::new();
    for document in DOCUMENTS {
        let text = read(document);
        wrong.extend(
            code_in(&text)
                .iter()
                .filter_map(|code| check(document, code))
                .map(|what| format!("{document}: {what}")),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The rows of the map in ARCHITECTURE.md: folder, and the crates it depends on.
fn map() -> Vec<(String, BTreeSet<String>)> {
    let text = read("ARCHITECTURE.md");
    let (_, table) = text.split_once("| folder | what it is | depends on |\n|---|---|---|\n").unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        (quoted(cells[0])[0].trim_end_matches('/').to_owned(), quoted(cells[2]).into_iter().collect())
    };
    table.lines().take_while(|line| line.starts_with('|')).map(row).collect()
}

#[test]
fn the_map_names_every_folder_and_no_other() {
    let is_built_or_kept_by_git = |name: &str| ["target", ".git", ".cargo"].contains(&name);
    let folders: BTreeSet<String> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| !is_built_or_kept_by_git(name))
        .collect();
    assert_eq!(map().into_iter().map(|(folder, _)| folder).collect::<BTreeSet<_>>(), folders);
}

/// The names in a section of a Cargo.toml.
fn dependencies(manifest: &str, section: &str) -> BTreeSet<String> {
    let Some((_, rest)) = manifest.split_once(&format!("\n[{section}]\n")) else { return BTreeSet::new() };
    let names = rest.lines().take_while(|line| !line.starts_with('['));
    names.filter_map(|line| Some(line.split_once(['.', ' ', '='])?.0.to_owned())).collect()
}

#[test]
fn crates_depend_on_what_the_map_says_and_only_eventloop_on_a_poller() {
    let workspace = read("Cargo.toml");
    let (_, members) = workspace.split_once("members = [").unwrap();
    let ours: BTreeSet<String> =
        members.split_once(']').unwrap().0.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    let map = map();
    for name in &ours {
        let manifest = read(&format!("{name}/Cargo.toml"));
        let used = dependencies(&manifest, "dependencies");
        let (_, documented) = map.iter().find(|(folder, _)| folder == name).unwrap();
        assert_eq!(&used.intersection(&ours).cloned().collect::<BTreeSet<_>>(), documented, "{name}");
        let tests = dependencies(&manifest, "dev-dependencies");
        assert!(
            name == "eventloop" || !used.union(&tests).any(|used| used == "calloop"),
            "{name} uses calloop"
        );
        // No command lines, logs or pictures below the programs.
        let is_program = ["tcpproxy", "webproxy", "proxyspec"].contains(&name.as_str());
        for heavy in ["clap", "tracing-subscriber", "plotters", "indicatif", "png"] {
            assert!(is_program || !used.contains(heavy), "{name} uses {heavy}");
        }
    }
}

/// The modules of a crate, and of the `operations` of tcpproxy, each with those that it uses.
fn uses(name: &str) -> BTreeMap<String, BTreeSet<String>> {
    let source = root().join(name).join("src");
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let is_module = |name: &str| source.join(format!("{name}.rs")).exists();
    // Where the types are that the crate names at its root.
    let exports = fs::read_to_string(source.join("lib.rs")).unwrap_or_default();
    let home = |name: &str| {
        let names = |line: &&str| line.split(|c: char| !c.is_alphanumeric()).any(|word| word == name);
        let line = exports.lines().find(|line| line.starts_with("pub use ") && names(line))?;
        line["pub use ".len()..].split("::").next().map(str::to_owned)
    };
    let here = fs::read_dir(&source).unwrap();
    let operations = fs::read_dir(source.join("operations")).into_iter().flatten();
    for entry in here.chain(operations).map(Result::unwrap) {
        let relative = entry.path().strip_prefix(&source).unwrap().with_extension("");
        let module = relative.to_str().unwrap().to_owned();
        if ["lib", "main", "bin", "operations"].contains(&module.as_str()) {
            continue;
        }
        let files = sources(&entry.path());
        let texts = files.iter().filter(|path| !path.ends_with("tests.rs")).map(|path| code(path));
        // What the tests of a module use may use the module.
        let text: String = texts.map(|text| text.split("#[cfg(test)]").next().unwrap().to_owned()).collect();
        let used = all.entry(module.clone()).or_default();
        for path in text.split("crate::").skip(1) {
            let path = path.split(';').next().unwrap();
            let (folder, names) =
                path.strip_prefix("operations::").map_or(("", path), |names| ("operations/", names));
            let names = if names.starts_with('{') { names } else { names.split("::").next().unwrap() };
            let words =
                names.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
            used.extend(words.filter_map(|word| {
                let name = format!("{folder}{word}");
                if is_module(&name) { Some(name) } else { home(word) }
            }));
        }
        used.remove(&module);
    }
    all
}

#[test]
fn no_module_depends_on_itself_in_a_circle() {
    let proxy = uses("tcpproxy");
    assert!(proxy["acceptor"].contains("session") && proxy["session"].contains("config"), "{proxy:?}");
    assert!(proxy["operations/metrics"].contains("termination"), "{proxy:?}");
    for name in ["ringbuf", "eventloop", "relay", "http1", "tcpproxy", "webproxy", "testkit", "proxyspec"] {
        let mut left = uses(name);
        // Whatever uses nothing that is left is in no circle.
        while let Some(done) = left.iter().find(|(_, used)| !used.iter().any(|used| left.contains_key(used)))
        {
            let done = done.0.clone();
            left.remove(&done);
        }
        assert!(left.is_empty(), "{name}: each of these uses another of them: {left:#?}");
    }
}

#[test]
fn every_file_that_the_documents_name_exists() {
    let top: BTreeSet<String> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let ignored = read(".gitignore");
    let sources = sources(&root());
    let is_source = |name: &str| sources.iter().any(|path| path.ends_with(name));
    for_each_code(|_, code| {
        if code.ends_with(".rs") && !code.contains(['/', '*']) {
            return (!is_source(code)).then(|| format!("there is no {code}"));
        }
        let is_path =
            code.contains('/') && code.chars().all(|c| c.is_ascii_alphanumeric() || "._-/*".contains(c));
        let first = code.split('/').next()?;
        let is_built = ignored.lines().any(|ignored| code.starts_with(ignored.trim_matches('/')));
        if !is_path || !top.contains(first) || is_built {
            return None;
        }
        let fixed = code.split('*').next()?;
        let fixed = if code.contains('*') { &fixed[..=fixed.rfind('/')?] } else { fixed };
        (!root().join(fixed).exists()).then(|| format!("there is no {code}"))
    });
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    for document in DOCUMENTS {
        let text = read(document);
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let file = if path.is_empty() {
                root().join(document)
            } else {
                root().join(document).parent().unwrap().join(path)
            };
            assert!(file.exists(), "{document}: there is no {link}");
            if !anchor.is_empty() {
                let target = fs::read_to_string(&file).unwrap();
                let heading =
                    |line: &str| line.trim_start_matches(['#', ' ']).to_lowercase().replace(' ', "-");
                assert!(
                    target.lines().any(|line| line.starts_with('#') && heading(line) == anchor),
                    "{document}: {link}"
                );
            }
        }
    }
}

#[test]
fn every_make_target_that_the_documents_name_exists_and_is_listed_by_make_help() {
    let makefile = read("Makefile");
    let targets: BTreeSet<&str> = makefile
        .lines()
        .filter(|line| line.contains(": ") && line.contains(" ## "))
        .filter_map(|line| line.split(':').next())
        .collect();
    assert!(targets.contains("tcpproxy") && targets.len() < 24, "{targets:?}"); // one screen
    for_each_code(|_, code| {
        let target = code.strip_prefix("make ")?.split(' ').next()?;
        (!targets.contains(target)).then(|| format!("there is no make {target}"))
    });
    let testing = read("docs/testing.md");
    let not_tests = ["tcpproxy", "demo", "doc", "install", "uninstall", "deb", "image", "clean", "help"];
    for target in targets.into_iter().filter(|target| !not_tests.contains(target)) {
        assert!(testing.contains(&format!("| `make {target}")), "docs/testing.md lacks make {target}");
    }
}

#[test]
fn every_test_that_the_documents_name_exists() {
    let all = code(&root());
    for_each_code(|_, code| {
        let is_test = code.matches('_').count() >= 3
            && code.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        // Metrics and settings of the kernel have names like that, too.
        let is_other = code.starts_with("tcpproxy_") || code.starts_with("tcp_");
        (is_test && !is_other && !all.contains(&format!("fn {code}(")))
            .then(|| format!("there is no test {code}"))
    });
}

#[test]
fn every_option_that_the_documents_name_exists() {
    let mut command = tcpproxy::cli::command();
    command.build();
    let options: BTreeSet<String> =
        command.get_arguments().filter_map(|option| Some(format!("--{}", option.get_long()?))).collect();
    // The web proxy's options are the fields of a struct.
    let webproxy = read("webproxy/src/cli.rs");
    let is_of_webproxy = |option: &str| webproxy.contains(&format!(" {}: ", option[2..].replace('-', "_")));
    for_each_code(|document, code| {
        // Those of other programs; and errors, which are run as they are.
        if ["docs/errors.md", "fuzz/README.md", "proxyspec/peers/README.md"].contains(&document)
            || !code.starts_with("--")
        {
            return None;
        }
        let option = code.split([' ', '=']).next()?;
        let known = options.contains(option) || is_of_webproxy(option);
        (!known).then(|| format!("there is no option {option}"))
    });
}

/// What a program of this kind may take, if the crates do their part.
#[test]
fn the_examples_are_as_short_as_they_should_be() {
    for (example, most) in [
        ("eventloop/examples/echo.rs", 45),
        ("eventloop/examples/chat.rs", 100),
        ("relay/examples/limit.rs", 60),
        ("relay/examples/sni.rs", 120),
        ("relay/examples/socks5.rs", 150),
        ("tcpproxy/examples/embed.rs", 35),
    ] {
        let lines = read(example).lines().count();
        assert!(lines <= most, "{example} has {lines} lines, more than {most}");
    }
}
