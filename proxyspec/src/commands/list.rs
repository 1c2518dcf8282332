use std::io::{self, Write};
use std::process::ExitCode;

use proxyspec::conform::{Case, topics};

/// Explains every case.
pub(crate) fn run() -> Result<ExitCode, String> {
    let mut text = String::new();
    for topic in topics() {
        text += &format!("{}: {}\n", topic.name, topic.about);
        for case in topic.cases {
            text += &explain(case);
        }
        text += "\n";
    }
    match io::stdout().write_all(text.as_bytes()) {
        // `proxyspec list | head` has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("cannot write: {error}")),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn explain(case: &Case) -> String {
    let (name, why, expects, source) = (case.name, case.why(), case.expects(), case.source());
    let needs: Vec<_> = case.needs.iter().map(|need| need.description()).collect();
    let needs =
        if needs.is_empty() { String::new() } else { format!("      needs:    {}\n", needs.join(", ")) };
    format!("\n  {name}\n      {why}\n      expected: {expects}\n      source:   {source}\n{needs}")
}
