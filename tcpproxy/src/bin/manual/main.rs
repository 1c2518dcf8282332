//! Writes the manual page and the shell completions of tcpproxy, made from its command line, into a folder laid
//! out as `share` below a prefix: `manual DIRECTORY`.
//!
//! The feature `manual` builds it, so that neither the proxy nor its build carries what makes them.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::Command;
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use tcpproxy::cli;

/// What can be said better than the command line's definition does.
const HEAD: &str = "\
.SH NAME
tcpproxy \\- plain TCP forwarder, faithful to the last FIN and RST
.SH SYNOPSIS
\\fBtcpproxy\\fR \\fIremote_host\\fR \\fIremote_port\\fR \\fIserver_port\\fR [\\fIoptions\\fR]
";

/// What the definition does not say.
const SECTIONS: &str = include_str!("sections.roff");

/// Where a shell looks for completions below `share`.
const COMPLETIONS: [(Shell, &str); 3] = [
    (Shell::Bash, "bash-completion/completions/tcpproxy"),
    (Shell::Zsh, "zsh/site-functions/_tcpproxy"),
    (Shell::Fish, "fish/vendor_completions.d/tcpproxy.fish"),
];

const PAGE: &str = "man/man1/tcpproxy.1";

fn main() -> ExitCode {
    let written = match std::env::args_os().nth(1) {
        Some(directory) => write(Path::new(&directory)),
        None => Err(io::Error::other("usage: manual DIRECTORY")),
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("manual: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

fn write(share: &Path) -> io::Result<()> {
    put(&share.join(PAGE), &page(cli::command())?)?;
    for (shell, path) in COMPLETIONS {
        let mut script = Vec::new();
        generate(shell, &mut cli::command(), "tcpproxy", &mut script);
        put(&share.join(path), &script)?;
    }
    Ok(())
}

fn put(path: &Path, content: &[u8]) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(path, content)
}

fn page(command: Command) -> io::Result<Vec<u8>> {
    let man = Man::new(command).manual("User Commands");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    page.extend_from_slice(HEAD.as_bytes());
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    page.extend_from_slice(SECTIONS.as_bytes());
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page as it is read, more or less: without what only the formatter sees.
    fn text() -> String {
        let page = String::from_utf8(page(cli::command()).unwrap()).unwrap();
        page.replace("\\-", "-").replace("\\fB", "").replace("\\fI", "").replace("\\fR", "")
    }

    #[test]
    fn every_option_is_on_the_page_and_in_each_completion() {
        let page = text();
        let mut command = cli::command();
        command.build();
        for option in command.get_arguments().filter_map(|argument| argument.get_long()) {
            assert!(page.contains(&format!("--{option}")), "{option}");
            for (shell, _) in COMPLETIONS {
                let mut script = Vec::new();
                generate(shell, &mut cli::command(), "tcpproxy", &mut script);
                assert!(String::from_utf8(script).unwrap().contains(option), "{option} for {shell}");
            }
        }
    }

    #[test]
    fn what_operators_look_for_has_a_section() {
        let page = text();
        for section in ["EXIT STATUS", "SIGNALS", "ENVIRONMENT", "LOG", "EXAMPLES"] {
            let title =
                |line: &str| line.strip_prefix(".SH ").map(|title| title.trim_matches('"') == section);
            assert!(page.lines().any(|line| title(line) == Some(true)), "{section}");
        }
    }

    #[test]
    fn each_word_of_the_log_is_explained() {
        use tcpproxy::termination::{By, Phase, Reason};
        let page = text();
        let words = By::ALL.iter().map(By::to_string);
        let words = words.chain(Phase::ALL.iter().map(Phase::to_string));
        for word in words.chain(Reason::ALL.iter().map(Reason::to_string)) {
            assert!(page.lines().any(|line| line == format!(".B {word}")), "{word}");
        }
    }

    #[test]
    fn files_go_where_they_are_looked_for() {
        let share = std::env::temp_dir().join(format!("manual-{}", std::process::id()));
        write(&share).unwrap();
        for path in COMPLETIONS.iter().map(|(_, path)| *path).chain([PAGE]) {
            assert!(fs::metadata(share.join(path)).unwrap().len() > 500, "{path}");
        }
        fs::remove_dir_all(share).unwrap();
    }
}
