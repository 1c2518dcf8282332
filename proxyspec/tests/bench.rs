//! Every measure of `proxyspec bench`, on sizes that say nothing about speed.
#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::procfs::{Process, processes};
use testkit::watchdog::within;

/// Each takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(240);

/// Measures without a proxy, and what else the options name, and returns the output and the JSON.
fn bench(rounds: usize, options: &[&str]) -> (Output, Value) {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("results.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxyspec"));
    command.args(["bench", "--seconds", "0.05", "--most", "6", "--contenders", "direct", "--json"]);
    command.arg(&json).args(["--rounds", &rounds.to_string()]).args(options);
    let output = within(PATIENCE, move |_| command.output().unwrap());
    assert!(output.status.success(), "{output:?}");
    let results = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    (output, results)
}

/// A plain proxy of two threads for each client, as a contender.
fn relay() -> String {
    format!("relay={} planted {{host}} {{port}} {{listen}}", env!("CARGO_BIN_EXE_proxyspec"))
}

/// The row of a contender in a measure.
fn row<'a>(results: &'a Value, measure: &str, contender: &str) -> Option<&'a Value> {
    let measures = results["measures"].as_array().unwrap();
    let measure = measures.iter().find(|found| found["name"] == measure).unwrap();
    measure["rows"].as_array().unwrap().iter().find(|row| row["contender"] == contender)
}

fn median(row: &Value, quantity: &str) -> f64 {
    row["summaries"][quantity]["median"].as_f64().unwrap_or_else(|| panic!("no {quantity} in {row:#}"))
}

/// Whether the processor time was measured in each round. Of a short one it may be 0, and has no median then: the kernel counts
/// it in ticks.
fn has_processor_time(row: &Value, quantity: &str) -> bool {
    let rounds = row["values"][quantity].as_array();
    rounds.is_some_and(|rounds| !rounds.is_empty() && rounds.iter().all(|time| time.as_f64() >= Some(0.0)))
}

#[test]
fn throughput_is_measured_with_and_without_a_proxy() {
    let (_, results) = bench(1, &["--only", "bulk", "--contender", &relay()]);
    for measure in ["bulk-up", "bulk-down", "bulk-both", "bulk-64"] {
        let direct = row(&results, measure, "direct").unwrap();
        let relay = row(&results, measure, "relay").unwrap();
        assert!(median(direct, "Throughput") > 0.0 && median(relay, "Throughput") > 0.0);
        assert!(has_processor_time(relay, "CpuPerGib"), "{relay:#}");
        assert!(!has_processor_time(direct, "CpuPerGib"), "no proxy, no processor time");
    }
}

#[test]
fn requests_are_answered_and_timed() {
    let (_, results) = bench(1, &["--only", "pingpong,small,large,growth,turns", "--contender", &relay()]);
    for measure in results["measures"].as_array().unwrap() {
        let name = measure["name"].as_str().unwrap();
        for contender in ["direct", "relay"] {
            let row = row(&results, name, contender).unwrap();
            assert!(median(row, "Requests") > 0.0, "{name}");
            let latencies =
                ["LatencyMedian", "Latency99", "Latency999"].map(|quantity| median(row, quantity));
            assert!(latencies[0] > 0.0 && latencies.is_sorted(), "{name}: {latencies:?}");
        }
        assert!(has_processor_time(row(&results, name, "relay").unwrap(), "CpuPerRequest"), "{name}");
    }
}

#[test]
fn short_connections_are_counted() {
    let (_, results) = bench(1, &["--only", "connections", "--contender", &relay()]);
    for contender in ["direct", "relay"] {
        assert!(median(row(&results, "connections-1", contender).unwrap(), "Connections") > 0.0);
    }
}

#[test]
fn memory_is_measured_of_proxies_alone() {
    let (_, results) = bench(1, &["--only", "idle,stalled", "--contender", &relay()]);
    for measure in ["idle-1000", "idle-10000", "stalled-100"] {
        assert!(row(&results, measure, "direct").is_none());
        let relay = row(&results, measure, "relay").unwrap();
        assert!(median(relay, "Memory") > 0.0);
        assert!(median(relay, "MemoryPerConnection").is_finite());
    }
}

/// The relay waits, reads and writes: three calls for each direction of a round trip. Those at the ends of a connection, 66 of
/// them, would make it 0.11 more if they were counted; a wait that its clock ends makes it a little more.
#[test]
fn system_calls_are_counted_but_for_those_at_the_ends_of_a_trace() {
    let (_, results) = bench(1, &["--only", "calls", "--contender", &relay()]);
    let request = row(&results, "calls-request", "relay").unwrap();
    let connection = row(&results, "calls-connection", "relay").unwrap();
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(request["failures"][0].as_str().unwrap().contains("strace"), "{request:#}");
        return;
    }
    assert!((median(request, "CallsPerRequest") - 6.0).abs() < 0.1, "{request:#}");
    assert!(median(connection, "CallsPerConnection") > 10.0, "{connection:#}");
}

#[test]
fn a_contender_that_does_not_work_is_reported_and_the_others_are_measured() {
    let only = ["--only", "bulk-up,connections-1"];
    let broken = ["--contender", "broken=false {host} {port} {listen}", "--contender", &relay()];
    let (output, results) = bench(2, &[&only[..], &broken[..]].concat());
    let said = String::from_utf8(output.stdout).unwrap();
    for measure in ["bulk-up", "connections-1"] {
        let broken = row(&results, measure, "broken").unwrap();
        let failures = broken["failures"].as_array().unwrap();
        assert_eq!(failures.len(), 2, "{broken:#}");
        assert!(failures[0].as_str().unwrap().contains("exit status: 1"), "{broken:#}");
        assert!(said.contains(&format!("{measure}, broken: ")), "{said}");
        let relay = row(&results, measure, "relay").unwrap();
        assert_eq!(relay["failures"].as_array().unwrap().len(), 0, "{relay:#}");
    }
}

#[test]
fn contenders_that_run_at_the_same_time_are_measured_in_each_turn() {
    let only = ["--only", "bulk-up,pingpong,connections-1", "--turns", "4"];
    let others = ["--contender", "broken=false {host} {port} {listen}", "--contender", &relay()];
    let (_, results) = bench(2, &[&only[..], &others[..]].concat());
    for (measure, quantity) in
        [("bulk-up", "Throughput"), ("pingpong", "Requests"), ("connections-1", "Connections")]
    {
        for contender in ["direct", "relay"] {
            let row = row(&results, measure, contender).unwrap();
            let values = row["values"][quantity].as_array().unwrap();
            assert_eq!(values.len(), 2 * 4, "{row:#}");
            assert!(values.iter().all(|value| value.as_f64() > Some(0.0)), "{row:#}");
        }
        let broken = row(&results, measure, "broken").unwrap();
        assert_eq!(broken["failures"].as_array().unwrap().len(), 2, "once in each round: {broken:#}");
    }
}

#[test]
fn a_bench_that_is_killed_leaves_no_load_process_behind() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxyspec"));
    command.args("bench --contenders direct --only bulk-up --turns 1000 --seconds 0.5".split(' '));
    let mut bench = command.args(["--contender", &relay()]).stdout(Stdio::null()).spawn().unwrap();
    within(PATIENCE, move |_| {
        let children = || -> Vec<_> {
            let all = processes().unwrap().into_iter();
            all.filter(|process| process.parent == bench.id() && !process.ended).collect()
        };
        let is_load = |child: &Process| {
            let line = fs::read(format!("/proc/{}/cmdline", child.pid)).unwrap_or_default();
            String::from_utf8_lossy(&line).contains("bench-load")
        };
        // One has its turn, the other one is stopped meanwhile.
        let all = loop {
            let all = children();
            let loads: Vec<_> = all.iter().filter(|child| is_load(child)).collect();
            if loads.len() == 2 && loads.iter().any(|load| load.is_stopped().unwrap_or(false)) {
                break all;
            }
        };
        let (loads, proxies): (Vec<_>, Vec<_>) = all.into_iter().partition(is_load);
        bench.kill().unwrap();
        bench.wait().unwrap();
        for proxy in proxies {
            kill_process(Pid::from_raw(proxy.pid as i32).unwrap(), Signal::KILL).unwrap();
        }
        let is_there = |load: &Process| {
            let all = processes().unwrap();
            all.iter().any(|process| process.pid == load.pid && !process.ended)
        };
        while loads.iter().any(is_there) {}
    });
}

#[test]
fn a_page_has_the_tables_and_the_plots_of_what_was_measured_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.md");
    let plots = folder.path().join("plots");
    let files = ["--markdown", page.to_str().unwrap(), "--plots", plots.to_str().unwrap()];
    let only = ["--only", "bulk-down,small-1", "--contender", &relay()];
    bench(1, &[&files[..], &only[..]].concat());
    let page = fs::read_to_string(page).unwrap();
    for expected in
        ["# Performance", "- Command: `proxyspec bench ", "## Bulk: MiB/s", "| direct | ", "| relay | **"]
    {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    // Those of processor time may be missing, as their figures; the page in docs/ has them.
    for plot in ["bulk", "small"] {
        assert!(page.contains(&format!("](plots/{plot}.svg)")), "{page}");
        let svg = fs::read_to_string(plots.join(plot).with_extension("svg")).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("relay"), "{svg}");
    }
    assert!(!plots.join("memory.svg").exists(), "nothing is drawn that was not measured");
    assert!(!page.contains("10,000, as descriptors allow"), "no measure says 10,000: {page}");
}

#[test]
fn a_page_can_be_made_again_from_the_figures() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (figures, first, second) = (file("figures.json"), file("first.md"), file("second.md"));
    let only = ["--only", "bulk-down", "--contender", &relay()];
    let written = ["--json", &figures, "--markdown", &first];
    let program = env!("CARGO_BIN_EXE_proxyspec");
    let measured = ["--contenders", "direct", "--rounds", "1", "--seconds", "0.2"];
    let run = |arguments: &[&[&str]]| {
        let output = Command::new(program).arg("bench").args(arguments.concat()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    run(&[&only, &measured, &written]);
    run(&[&["--figures", &figures, "--markdown", &second]]);
    assert_eq!(fs::read_to_string(first).unwrap(), fs::read_to_string(second).unwrap());
}

#[test]
fn the_page_in_docs_is_made_from_its_figures() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let folder = tempfile::tempdir().unwrap();
    let (page, plots) = (folder.path().join("performance.md"), folder.path().join("performance"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxyspec"));
    command.args(["bench", "--figures"]).arg(docs.join("performance/figures.json"));
    let output = command.arg("--markdown").arg(&page).arg("--plots").arg(&plots).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let plots =
        fs::read_dir(&plots).unwrap().map(|plot| Path::new("performance").join(plot.unwrap().file_name()));
    for file in plots.chain(["performance.md".into()]) {
        let [written, made] =
            [&docs, folder.path()].map(|root| fs::read_to_string(root.join(&file)).unwrap());
        assert!(written == made, "docs/{} is not made from the figures", file.display());
    }
}

#[test]
fn namespaces_that_cannot_be_made_are_refused_with_what_they_take() {
    let folder = tempfile::tempdir().unwrap();
    let unshare = folder.path().join("unshare");
    fs::write(&unshare, "#!/bin/sh\nexit 1\n").unwrap();
    fs::set_permissions(&unshare, Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxyspec"));
    command.args(["bench", "--veth", "--contenders", "direct", "--only", "bulk-up"]);
    let output = command.env("PATH", folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--veth: ") && said.contains("it takes root and iproute2"), "{said}");
}

#[test]
fn what_does_not_exist_is_refused() {
    let words = [["--only", "speed"], ["--contenders", "unknown"], ["--contender", "x=cat {host}"]];
    for words in words {
        let output = Command::new(env!("CARGO_BIN_EXE_proxyspec")).arg("bench").args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(!output.stderr.is_empty());
    }
}
