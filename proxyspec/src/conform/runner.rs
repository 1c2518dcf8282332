use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::conform::{Case, Cases, Need, Outcome, Service, Stop, Subject, Trial, Verdict, broken};
use testkit::proxy;
use testkit::replay::in_threads;
use testkit::seed::Seed;

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The proxy.
    pub subject: Subject,
    /// How many clients it serves.
    pub service: Service,
    /// What decides everything random; each case has a seed of its own, derived from it by the name of the case.
    pub seed: Seed,
    /// How many cases run at once. A proxy that already runs has one case at a time, whatever this says.
    pub jobs: usize,
}

/// What happens while cases run.
#[derive(Debug)]
pub enum CaseEvent {
    /// A case has begun.
    Begun(&'static Case),
    /// A case has ended.
    Ended(Outcome),
}

impl Plan {
    /// Runs `cases` topic by topic, and tells `watcher` at once what happens; returns the outcomes in the order of the
    /// cases.
    ///
    /// In each topic as many cases as there are jobs run at once, and then, one by one, those that have to run alone.
    pub fn run(&self, topics: &Cases, mut watcher: impl FnMut(&CaseEvent)) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for (topic, cases) in topics {
            let (alone, beside): (Vec<_>, Vec<_>) = cases.iter().copied().partition(|case| case.alone);
            let jobs = if matches!(self.subject, Subject::Running { .. }) { 1 } else { self.jobs.max(1) };
            let mut ended = self.run_at_once(topic.name, beside, jobs, &mut watcher);
            ended.extend(self.run_at_once(topic.name, alone, 1, &mut watcher));
            ended.sort_by_key(|outcome| cases.iter().position(|case| case.name == outcome.case.name));
            outcomes.extend(ended);
        }
        outcomes
    }

    /// How many cases run at once unless a number is given: two for each processor.
    pub fn usual_jobs() -> usize {
        2 * thread::available_parallelism().map_or(1, |count| count.get())
    }

    /// The longest time that [`run`](Self::run) takes if every deadline is used up.
    pub fn limit(topics: &Cases) -> Duration {
        topics.iter().flat_map(|(_, cases)| cases).map(|case| case.deadline).sum()
    }

    fn run_at_once(
        &self,
        topic: &'static str,
        cases: Vec<&'static Case>,
        jobs: usize,
        watcher: &mut impl FnMut(&CaseEvent),
    ) -> Vec<Outcome> {
        let (sender, events) = channel();
        thread::scope(|scope| {
            scope.spawn(move || in_threads(jobs, cases, |case| self.run_one(topic, case, &sender)));
            let mut outcomes = Vec::new();
            for event in events {
                watcher(&event);
                if let CaseEvent::Ended(outcome) = event {
                    outcomes.push(outcome);
                }
            }
            outcomes
        })
    }

    fn run_one(&self, topic: &'static str, case: &'static Case, events: &Sender<CaseEvent>) {
        let begin = Instant::now();
        // The other end goes on until the sender is gone.
        let _ = events.send(CaseEvent::Begun(case));
        let verdict = self.fits(case).and_then(|()| self.judge(case));
        let _ = events.send(CaseEvent::Ended(Outcome { case, topic, verdict, took: begin.elapsed() }));
    }

    fn fits(&self, case: &Case) -> Result<(), Stop> {
        let met = |need: &Need| match need {
            Need::Process => matches!(self.subject, Subject::Command(_)),
            Need::Sessions => self.service != Service::Once,
            Need::ManyAtOnce => self.service == Service::ManyAtOnce,
        };
        match case.needs.iter().find(|need| !met(need)) {
            None => Ok(()),
            Some(need) => Err(Stop::NotApplicable(format!("it needs {}", need.description()))),
        }
    }

    /// Runs a case on a thread of its own. One that is late is left behind without its proxies, and so will end.
    fn judge(&self, case: &'static Case) -> Verdict {
        let seed = self.seed.derive(case.name);
        let trial = Arc::new(Trial::new(self.subject.clone(), self.service, seed));
        let (sender, verdict) = channel();
        let thread = thread::Builder::new().name(case.name.to_owned()).spawn({
            let trial = trial.clone();
            move || {
                // The waiting thread has given up if it is too late.
                let _ = sender.send((case.run)(&trial));
            }
        })?;
        let verdict = match verdict.recv_timeout(case.deadline) {
            Ok(verdict) => verdict,
            Err(RecvTimeoutError::Timeout) => {
                let doing = trial.status().get();
                trial.started().into_iter().for_each(proxy::kill_from_outside);
                return broken(format!("no end within {:?}; it was doing this: {doing}", case.deadline));
            }
            Err(RecvTimeoutError::Disconnected) => {
                let panic = thread.join().err();
                let said = panic.as_ref().and_then(|panic| {
                    let text = panic.downcast_ref::<String>().map(String::as_str);
                    text.or_else(|| panic.downcast_ref::<&str>().copied())
                });
                return broken(format!("the case itself failed: {}", said.unwrap_or_default()));
            }
        };
        match trial.deaths().pop() {
            Some(death) if verdict.is_ok() && self.service != Service::Once => broken(death),
            _ => verdict,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::conform::Topic;

    static CASES: [Case; 5] = [
        Case::new("hangs", |trial| {
            trial.doing("waiting for no client");
            loop {
                thread::park();
            }
        })
        .deadline(1),
        Case::new("panics", |trial| panic!("as it is, with {:?}", trial.service())),
        Case::new("panics_in_few_words", |_| panic!("as it is")),
        Case::new("passes", |trial| Ok(trial.seed().to_string())).alone(),
        Case::new("needs_a_process", |_| Ok(String::new())).needs(&[Need::Process]),
    ];

    #[test]
    fn every_case_ends_with_an_outcome_in_the_order_of_the_list() {
        let topic = Topic { name: "topic", about: "about", cases: &CASES };
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let subject = Subject::Running { proxy: nowhere, origin: nowhere };
        let plan = Plan { subject, service: Service::ManyAtOnce, seed: Seed::new(1), jobs: 3 };
        let mut begun = 0;
        let outcomes = plan.run(&vec![(topic, CASES.iter().collect())], |event| {
            begun += usize::from(matches!(event, CaseEvent::Begun(_)));
        });
        assert_eq!(begun, CASES.len());
        let seen: Vec<_> = outcomes.iter().map(|outcome| (outcome.word(), outcome.observed())).collect();
        assert_eq!(seen[0], ("fail", "no end within 1s; it was doing this: waiting for no client"));
        assert_eq!(seen[1], ("fail", "the case itself failed: as it is, with ManyAtOnce"));
        assert_eq!(seen[2], ("fail", "the case itself failed: as it is"));
        assert_eq!(seen[3], ("pass", Seed::new(1).derive("passes").to_string().as_str()));
        assert_eq!(seen[4], ("n/a", "it needs the process of the proxy"));
    }
}
