//! A comparison as a page of Markdown.

use std::collections::{BTreeMap, BTreeSet};

use crate::conform::comparison::{CaseResult, Changes, Comparison, JudgedProxy, Judgement, Tried};
use crate::conform::{Case, Topic, topics};
use crate::markdown::{Markdown, cell, plain};

pub(super) fn markdown(comparison: &Comparison, command: &str) -> String {
    let contenders = &comparison.contenders;
    let judged: Vec<_> = contenders.iter().filter_map(Judged::of).collect();
    let mut text = Markdown::default();
    head(&mut text, &judged, command);
    missing(&mut text, contenders);
    summary(&mut text, &judged);
    for topic in topics() {
        table(&mut text, &topic, &judged);
    }
    text.line("\n## One by one");
    for judged in &judged {
        section(&mut text, judged);
    }
    text.into_text()
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

fn head(text: &mut Markdown, judged: &[Judged<'_>], command: &str) {
    let unique = |of: fn(&Judgement) -> &str| {
        let values: BTreeSet<_> = judged.iter().map(|judged| of(judged.judgement)).collect();
        values.into_iter().collect::<Vec<_>>().join("; ")
    };
    let cases: usize = topics().iter().map(|topic| topic.cases.len()).sum();
    let minutes = judged.iter().map(|judged| judged.judgement.seconds).sum::<f64>() / 60.0;
    let contenders = if judged.len() == 1 { "contender" } else { "contenders" };
    text.line("# Conformance, side by side\n");
    text.line(format!(
        "This page is written by `{command}`; `make docs-conformance` makes one for your machine.\n"
    ));
    text.line(format!("- Date: {}", unique(|judgement| &judgement.date)));
    text.line(format!("- System: {}", unique(|judgement| &judgement.system)));
    text.line(format!(
        "- Cases: {cases}, explained by `proxyspec list`; {minutes:.0} minutes for {} {contenders}, and more for the options that were tried",
        judged.len()
    ));
    text.line(
        "\nEach contender runs with the command and the configuration in its section. What is in braces there is filled in \
         by the suite: `{half_close:3600}` is 3600, or less in a case about that limit, and `{+place}` is where an option is \
         tried. The section says what was observed in each case that failed, and what difference options make: one is said \
         to mend a case that passes with it, twice, and not without, before and after; if there is such a case, those that \
         had passed are run with it, too, and it is said to break those that fail twice. A case is not applicable to a proxy that lacks what \
         the case is about, such as a setting. The table says what peers see; some of it is what the authors of a proxy want.",
    );
}

fn missing(text: &mut Markdown, contenders: &[JudgedProxy]) {
    for contender in contenders {
        if let Err(why) = &contender.judgement {
            text.line(format!("\n**Not judged: {}: {}**", contender.name, plain(why)));
        }
    }
}

fn summary(text: &mut Markdown, judged: &[Judged<'_>]) {
    let topics = topics();
    text.line("\n## Passed, failed, not applicable\n");
    let heads: Vec<_> =
        topics.iter().map(|topic| format!("{} ({})", topic.name, topic.cases.len())).collect();
    text.line(format!("| contender | version | serves | {} | all |", heads.join(" | ")));
    text.line(format!("|---|---|---|{}", "--:|".repeat(heads.len() + 1)));
    for judged in judged {
        let counts = |topic: &Topic| ["pass", "fail", "n/a"].map(|result| judged.with(topic, result).len());
        let each: Vec<_> = topics.iter().map(counts).collect();
        let all = each.iter().fold([0; 3], |sum, counts| [0, 1, 2].map(|i| sum[i] + counts[i]));
        let cell_of = |[passed, failed, rest]: &[usize; 3]| format!("{passed} · {failed} · {rest}");
        let cells = each.iter().chain([&all]).map(cell_of);
        let judgement = judged.judgement;
        let words = [link(&judged.contender.name), cell(&judgement.version), judgement.serves.clone()];
        text.row(words.into_iter().chain(cells));
    }
}

/// `✓` passed, `✗` failed, `–` not applicable.
fn table(text: &mut Markdown, topic: &Topic, judged: &[Judged<'_>]) {
    text.line(format!("\n## {}: {}\n", topic.name, topic.about));
    text.line("✓ passed, ✗ failed, – not applicable\n");
    let names: Vec<_> = judged.iter().map(|judged| link(&judged.contender.name)).collect();
    text.head(&names, ":-:");
    for case in topic.cases {
        let mark = |judged: &Judged<'_>| match judged.found(case).map(|found| found.result.as_str()) {
            Some("pass") => "✓",
            Some("fail") => "**✗**",
            Some(_) => "–",
            None => "",
        };
        text.row([case.name].into_iter().chain(judged.iter().map(mark)));
    }
}

fn section(text: &mut Markdown, judged: &Judged<'_>) {
    let (contender, judgement) = (judged.contender, judged.judgement);
    text.line(format!("\n### {}\n", contender.name));
    if !contender.description.is_empty() {
        text.line(format!("{}\n", contender.description));
    }
    let Judgement { version, serves, seed, seconds, .. } = judgement;
    text.line(format!("{version}; serves {serves}; seed `{seed}`; {seconds:.0} s\n"));
    text.line(format!("    {}", contender.command));
    if !contender.with.is_empty() {
        text.line(format!("\nWith `{}`.", plain(&contender.with)));
    }
    if !contender.configuration.is_empty() {
        let configuration = contender.configuration.trim_end();
        text.line(format!(
            "\n<details><summary>configuration</summary>\n\n```\n{configuration}\n```\n\n</details>"
        ));
    }
    failures(text, judged);
    not_applicable(text, judged);
    tries(text, &judgement.tried);
}

fn failures(text: &mut Markdown, judged: &Judged<'_>) {
    let failures: Vec<_> = topics().iter().flat_map(|topic| judged.with(topic, "fail")).collect();
    if failures.is_empty() {
        text.line("\nNothing failed.");
        return;
    }
    text.line("\n| failed | observed | expected |\n|---|---|---|");
    for (case, found) in failures {
        text.row([case.name, &cell(&found.observed), &cell(case.expects())]);
    }
}

fn not_applicable(text: &mut Markdown, judged: &Judged<'_>) {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (case, found) in topics().iter().flat_map(|topic| judged.with(topic, "n/a")) {
        reasons.entry(&found.observed).or_default().push(case.name);
    }
    for (i, (reason, cases)) in reasons.into_iter().enumerate() {
        let before = if i == 0 { "\n" } else { "" };
        text.line(format!("{before}- Not applicable, {}: {}", plain(reason), cases.join(", ")));
    }
}

fn tries(text: &mut Markdown, tried: &[Tried]) {
    for (i, Tried { option, changes }) in tried.iter().enumerate() {
        if i == 0 {
            text.line("\n| tried | what it changed |\n|---|---|");
        }
        text.row([format!("`{}`", plain(option)), changed(changes)]);
    }
}

fn changed(changes: &Result<Changes, String>) -> String {
    match changes {
        Err(why) => format!("it cannot be judged: {}", cell(why)),
        Ok(Changes { mended, .. }) if mended.is_empty() => "nothing that failed passes".to_owned(),
        Ok(changes) => changes.to_string(),
    }
}

/// A link to the section of a contender.
fn link(name: &str) -> String {
    format!("[{name}](#{name})")
}
