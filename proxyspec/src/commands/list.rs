use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use proxyspec::conform::{Case, topics};

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// As a Markdown document
    #[arg(long)]
    markdown: bool,
}

/// Explains every case.
pub(crate) fn run(arguments: &ListArguments) -> Result<ExitCode, String> {
    let mut text = String::new();
    for topic in topics() {
        let title = format!("{}: {}", topic.name, topic.about);
        text += &if arguments.markdown { format!("\n## {title}\n") } else { format!("{title}\n") };
        for case in topic.cases {
            text += &if arguments.markdown { markdown(case) } else { plain(case) };
        }
        text += "\n";
    }
    match io::stdout().write_all(text.trim_start().as_bytes()) {
        // `proxyspec list | head` has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("cannot write: {error}")),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn plain(case: &Case) -> String {
    let Parts { name, why, expects, source, needs } = Parts::of(case);
    format!(
        "\n  {name}\n      {why}\n      expected: {expects}\n      source:   {source}\n{}",
        match needs {
            Some(needs) => format!("      needs:    {needs}\n"),
            None => String::new(),
        }
    )
}

fn markdown(case: &Case) -> String {
    let Parts { name, why, expects, source, needs } = Parts::of(case);
    let needs = needs.map(|needs| format!(" Needs {needs}.")).unwrap_or_default();
    format!("\n**{name}**: {why} Expected: {expects}. *{source}.*{needs}\n")
}

struct Parts<'a> {
    name: &'a str,
    why: &'a str,
    expects: &'a str,
    source: &'a str,
    needs: Option<String>,
}

impl<'a> Parts<'a> {
    fn of(case: &'a Case) -> Self {
        let needs: Vec<_> = case.requirements().iter().map(|need| need.description()).collect();
        Self {
            name: case.name(),
            why: case.explanation(),
            expects: case.expectation(),
            source: case.reference(),
            needs: (!needs.is_empty()).then(|| needs.join(", ")),
        }
    }
}
