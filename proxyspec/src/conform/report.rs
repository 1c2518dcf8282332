//! The outcomes as JSON and as Markdown.

use serde_json::{Value, json};

use crate::conform::{Outcome, Service};
use crate::markdown::{Markdown, cell};
use testkit::seed::Seed;

/// What was judged, and the results.
#[derive(Clone, Debug)]
pub struct Results<'a> {
    /// The command line of the proxy, or where it was reached.
    pub subject: &'a str,
    /// How many clients it serves.
    pub service: Service,
    /// The seed of the run.
    pub seed: Seed,
    /// The outcomes in the order of the cases.
    pub outcomes: &'a [Outcome],
}

impl Results<'_> {
    /// How many cases passed, failed and were not applicable.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |word| self.outcomes.iter().filter(|outcome| outcome.word() == word).count();
        (count("pass"), count("fail"), count("n/a"))
    }

    /// One object; `cases` has one for each case.
    pub fn json(&self) -> Value {
        let (passed, failed, not_applicable) = self.counts();
        let cases = self.outcomes.iter().map(|outcome| {
            json!({
                "topic": outcome.topic,
                "name": outcome.case.name,
                "result": outcome.word(),
                "observed": outcome.observed(),
                "expected": outcome.case.expects(),
                "source": outcome.case.source(),
                "seconds": outcome.took.as_secs_f64(),
            })
        });
        json!({
            "proxyspec": env!("CARGO_PKG_VERSION"),
            "subject": self.subject,
            "serves": self.service.description(),
            "seed": self.seed.to_string(),
            "passed": passed,
            "failed": failed,
            "not_applicable": not_applicable,
            "cases": cases.collect::<Vec<_>>(),
        })
    }

    /// A table for each topic.
    pub fn markdown(&self) -> String {
        let (passed, failed, not_applicable) = self.counts();
        let mut text = Markdown::default();
        text.line(format!("# `{}`\n", self.subject.replace('`', "'")));
        text.line(format!(
            "Serves {}. {passed} passed, {failed} failed, {not_applicable} not applicable; seed `{}`.",
            self.service.description(),
            self.seed
        ));
        let mut topic = "";
        for outcome in self.outcomes {
            if outcome.topic != topic {
                topic = outcome.topic;
                text.line(format!("\n## {topic}\n\n| case | result | observed | expected | source |"));
                text.line("|---|---|---|---|---|");
            }
            let case = outcome.case;
            let cells = [case.name, outcome.word(), outcome.observed(), case.expects(), case.source()];
            text.row(cells.map(cell));
        }
        text.into_text()
    }
}
