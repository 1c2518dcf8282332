//! A comparison as a page of Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::conform::comparison::{CaseResult, Changes, Comparison, JudgedProxy, Judgement, Tried};
use crate::conform::{Case, Topic, topics};

pub(super) fn markdown(comparison: &Comparison, command: &str) -> String {
    let contenders = &comparison.contenders;
    let judged: Vec<_> = contenders.iter().filter_map(Judged::of).collect();
    let mut text = String::new();
    head(&mut text, &judged, command);
    missing(&mut text, contenders);
    summary(&mut text, &judged);
    for topic in topics() {
        table(&mut text, &topic, &judged);
    }
    line(&mut text, "\n## One by one");
    for judged in &judged {
        section(&mut text, judged);
    }
    text
}

/// A contender that was judged.
struct Judged<'a> {
    contender: &'a JudgedProxy,
    judgement: &'a Judgement,
}

impl<'a> Judged<'a> {
    fn of(contender: &'a JudgedProxy) -> Option<Self> {
        contender.judgement.as_ref().ok().map(|judgement| Self { contender, judgement })
    }

    fn found(&self, case: &Case) -> Option<&'a CaseResult> {
        self.judgement.cases.get(case.name)
    }

    /// The cases of this topic with this result, and what was observed.
    fn with(&self, topic: &Topic, result: &str) -> Vec<(&'static Case, &'a CaseResult)> {
        let found = topic.cases.iter().filter_map(|case| Some((case, self.found(case)?)));
        found.filter(|(_, found)| found.result == result).collect()
    }
}

fn head(text: &mut String, judged: &[Judged<'_>], command: &str) {
    let unique = |of: fn(&Judgement) -> &str| {
        let mut values: Vec<_> = judged.iter().map(|judged| of(judged.judgement)).collect();
        values.sort_unstable();
        values.dedup();
        values.join("; ")
    };
    let cases: usize = topics().iter().map(|topic| topic.cases.len()).sum();
    let minutes = judged.iter().map(|judged| judged.judgement.seconds).sum::<f64>() / 60.0;
    line(text, "# Conformance, side by side\n");
    line(
        text,
        &format!(
            "This page is written by `{command}`; `make docs-conformance` makes one for your machine.\n"
        ),
    );
    line(text, &format!("- Date: {}", unique(|judgement| &judgement.date)));
    line(text, &format!("- System: {}", unique(|judgement| &judgement.system)));
    line(
        text,
        &format!(
            "- Cases: {cases}, explained by `proxyspec list`; {minutes:.0} minutes for {}, and more for the options that were tried",
            count(judged.len(), "contender")
        ),
    );
    line(
        text,
        "\nEach contender runs with the command and the configuration in its section. What is in braces there is filled in \
         by the suite: `{half_close:3600}` is 3600, or less in a case about that limit, and `{+place}` is where an option is \
         tried. The section says what was observed in each case that failed, and what difference options make: one is said \
         to mend a case that passes with it, twice, and not without, before and after; if there is such a case, those that \
         had passed are run with it, too, and it is said to break those that fail twice. A case is not applicable to a proxy that lacks what \
         the case is about, such as a setting. The table says what peers see; some of it is what the authors of a proxy want.",
    );
}

fn missing(text: &mut String, contenders: &[JudgedProxy]) {
    for contender in contenders {
        if let Err(why) = &contender.judgement {
            line(text, &format!("\n**Not judged: {}: {}**", contender.name, plain(why)));
        }
    }
}

fn summary(text: &mut String, judged: &[Judged<'_>]) {
    let topics = topics();
    line(text, "\n## Passed, failed, not applicable\n");
    let heads: Vec<_> =
        topics.iter().map(|topic| format!("{} ({})", topic.name, topic.cases.len())).collect();
    line(text, &format!("| contender | version | serves | {} | all |", heads.join(" | ")));
    line(text, &format!("|---|---|---|{}", "--:|".repeat(heads.len() + 1)));
    for judged in judged {
        let counts = |topic: &Topic| ["pass", "fail", "n/a"].map(|result| judged.with(topic, result).len());
        let each: Vec<_> = topics.iter().map(counts).collect();
        let all = each.iter().fold([0; 3], |sum, counts| [0, 1, 2].map(|i| sum[i] + counts[i]));
        let cells: Vec<_> = each
            .iter()
            .chain([&all])
            .map(|[passed, failed, rest]| format!("{passed} · {failed} · {rest}"))
            .collect();
        let (contender, judgement) = (judged.contender, judged.judgement);
        line(
            text,
            &format!(
                "| {} | {} | {} | {} |",
                link(&contender.name),
                cell(&judgement.version),
                judgement.serves,
                cells.join(" | ")
            ),
        );
    }
}

/// `✓` passed, `✗` failed, `–` not applicable.
fn table(text: &mut String, topic: &Topic, judged: &[Judged<'_>]) {
    line(text, &format!("\n## {}: {}\n", topic.name, topic.about));
    line(text, "✓ passed, ✗ failed, – not applicable\n");
    let names: Vec<_> = judged.iter().map(|judged| link(&judged.contender.name)).collect();
    line(text, &format!("| | {} |", names.join(" | ")));
    line(text, &format!("|---|{}", ":-:|".repeat(names.len())));
    for case in topic.cases {
        let mark = |judged: &Judged<'_>| match judged.found(case).map(|found| found.result.as_str()) {
            Some("pass") => "✓",
            Some("fail") => "**✗**",
            Some(_) => "–",
            None => "",
        };
        let marks: Vec<_> = judged.iter().map(mark).collect();
        line(text, &format!("| {} | {} |", case.name, marks.join(" | ")));
    }
}

fn section(text: &mut String, judged: &Judged<'_>) {
    let (contender, judgement) = (judged.contender, judged.judgement);
    line(text, &format!("\n### {}\n", contender.name));
    if !contender.description.is_empty() {
        line(text, &format!("{}\n", contender.description));
    }
    let (seed, seconds) = (&judgement.seed, judgement.seconds);
    line(
        text,
        &format!("{}; serves {}; seed `{seed}`; {seconds:.0} s\n", judgement.version, judgement.serves),
    );
    line(text, &format!("    {}", contender.command));
    if !contender.with.is_empty() {
        line(text, &format!("\nWith `{}`.", plain(&contender.with)));
    }
    if !contender.configuration.is_empty() {
        let configuration = contender.configuration.trim_end();
        line(
            text,
            &format!(
                "\n<details><summary>configuration</summary>\n\n```\n{configuration}\n```\n\n</details>"
            ),
        );
    }
    failures(text, judged);
    not_applicable(text, judged);
    tries(text, &judgement.tried);
}

fn failures(text: &mut String, judged: &Judged<'_>) {
    let failures: Vec<_> = topics().iter().flat_map(|topic| judged.with(topic, "fail")).collect();
    if failures.is_empty() {
        line(text, "\nNothing failed.");
        return;
    }
    line(text, "\n| failed | observed | expected |\n|---|---|---|");
    for (case, found) in failures {
        line(text, &format!("| {} | {} | {} |", case.name, cell(&found.observed), cell(case.expects)));
    }
}

fn not_applicable(text: &mut String, judged: &Judged<'_>) {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (case, found) in topics().iter().flat_map(|topic| judged.with(topic, "n/a")) {
        reasons.entry(&found.observed).or_default().push(case.name);
    }
    for (i, (reason, cases)) in reasons.into_iter().enumerate() {
        line(
            text,
            &format!(
                "{}- Not applicable, {}: {}",
                if i == 0 { "\n" } else { "" },
                plain(reason),
                cases.join(", ")
            ),
        );
    }
}

fn tries(text: &mut String, tried: &[Tried]) {
    for (i, Tried { option, changes }) in tried.iter().enumerate() {
        if i == 0 {
            line(text, "\n| tried | what it changed |\n|---|---|");
        }
        line(text, &format!("| `{}` | {} |", plain(option), changed(changes)));
    }
}

fn changed(changes: &Result<Changes, String>) -> String {
    match changes {
        Err(why) => format!("it cannot be judged: {}", cell(why)),
        Ok(Changes { mended, .. }) if mended.is_empty() => "nothing that failed passes".to_owned(),
        Ok(Changes { mended, broken }) if broken.is_empty() => format!("mends {}", mended.join(", ")),
        Ok(Changes { mended, broken }) => {
            format!("mends {}, breaks {}", mended.join(", "), broken.join(", "))
        }
    }
}

/// A link to the section of a contender.
fn link(name: &str) -> String {
    format!("[{name}](#{name})")
}

/// For a table.
fn cell(words: &str) -> String {
    plain(words).replace('|', "\\|")
}

/// On one line.
fn plain(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn line(text: &mut String, words: &str) {
    writeln!(text, "{words}").expect("writing to a string does not fail");
}
