use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use proxyspec::stress::{BUFFER, Failure, Figures, Stress};
use testkit::scenario::Kind;

use crate::commands::set::SetArguments;
use crate::commands::{end_everything_when_interrupted, print};

#[derive(Debug, Args)]
#[command(
    after_help = "Every session is drawn from a seed of its own and judged when it is over; the first one that goes \
    wrong ends the run, with the line that plays it again.\n\
    Exit status: 0 if all sessions were as they should be, 1 if one was not, 2 if there was no proxy."
)]
pub(crate) struct StressArguments {
    #[command(flatten)]
    stress: Stress,

    #[command(flatten)]
    set: SetArguments,
}

/// How often a log gets a line.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Plays random sessions for a while; the status says whether all were as they should be.
pub(crate) fn run(arguments: &StressArguments) -> Result<ExitCode, String> {
    let StressArguments { stress, set } = arguments;
    let clients = stress.clients;
    if clients == 1 && stress.kinds == [Kind::Vanish] {
        return Err("the kind vanish needs several clients at once: --clients 2".to_owned());
    }
    end_everything_when_interrupted()?;
    let built = set.build(clients > 1)?;
    let mut display = StressDisplay::new();
    display.print(&format!("{}\n{clients} clients at once; seed {}", built.name, stress.seed));
    let outcome = stress.run(&built.stage, built.proxy.as_ref(), |figures| display.show(figures));
    display.clear();
    match outcome {
        Ok(figures) => {
            display.print(&summary(&figures));
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => {
            display.print(&complaint(&failure, stress, &set.words()));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn summary(figures: &Figures) -> String {
    let kinds = figures.kinds.iter().map(|(kind, count)| format!("{} {count}", kind.name()));
    let mut text = format!("{figures}\nall as they should be: {}", kinds.collect::<Vec<_>>().join(", "));
    if let Some((took, seed)) = figures.slowest {
        text += &format!("\nthe slowest took {:.1} s: session {seed}", took.as_secs_f64());
    }
    text
}

fn complaint(failure: &Failure, stress: &Stress, subject: &str) -> String {
    let mut options = String::new();
    if stress.buffer != BUFFER {
        options += &format!(" --buffer {}B", stress.buffer);
    }
    if stress.stutter {
        options += " --stutter";
    }
    let mut text = format!("FAIL  {failure}\n{}\n", failure.details);
    if let Some(seed) = failure.session {
        let alone = if stress.clients == 1 { " --alone" } else { "" };
        text += &format!("\nthis session again:  proxyspec replay {seed}{alone}{options} {subject}");
    }
    if stress.refusals {
        options += " --refusals";
    }
    if let Some(growth) = stress.memory_growth {
        options += &format!(" --memory-growth {growth}B");
    }
    if !stress.kinds.is_empty() {
        let kinds: Vec<_> = stress.kinds.iter().map(|kind| kind.name()).collect();
        options += &format!(" --kinds {}", kinds.join(","));
    }
    let (seed, clients, seconds) = (stress.seed, stress.clients, stress.length.as_secs());
    text += &format!(
        "\nthe whole run again: proxyspec stress --seed {seed} --clients {clients} --seconds {seconds}{options} {subject}"
    );
    text
}

/// A line that changes on a terminal, and a line now and then in a log.
struct StressDisplay {
    bar: ProgressBar,
    printed: Instant,
    terminal: bool,
}

impl StressDisplay {
    fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::with_template("{spinner} {wide_msg}").expect("the template is right"));
        Self { bar, printed: Instant::now(), terminal: io::stderr().is_terminal() }
    }

    fn show(&mut self, figures: &Figures) {
        if self.terminal {
            self.bar.set_message(figures.to_string());
            self.bar.tick();
        } else if self.printed.elapsed() >= LINE_EVERY {
            self.printed = Instant::now();
            self.print(&figures.to_string());
        }
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn print(&self, text: &str) {
        self.bar.suspend(|| print(text));
    }
}
