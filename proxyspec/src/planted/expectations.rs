//! Which cases a proxy with a bug must fail, and which ones it may fail.

use super::Bug;

/// The comment at its beginning describes the format.
const TABLE: &str = include_str!("expectations.txt");

impl Bug {
    /// The cases that a proxy with this bug must fail.
    pub fn must_fail(self) -> Vec<&'static str> {
        list(&format!("must/{}", self.name()))
    }

    /// Further cases that it may fail, since they need what the bug spoils, or because it is a matter of luck.
    pub fn may_fail(self) -> Vec<&'static str> {
        list(&format!("may/{}", self.name()))
    }
}

/// The cases of this list; none if there is no such list.
fn list(name: &str) -> Vec<&'static str> {
    let words = words().skip_while(|word| word.strip_suffix(':') != Some(name)).skip(1);
    let words = words.take_while(|word| !word.ends_with(':'));
    words.flat_map(|word| if word.starts_with('@') { list(word) } else { vec![word] }).collect()
}

/// The words of the table, without its comments.
fn words() -> impl Iterator<Item = &'static str> {
    TABLE.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conform::topics;

    #[test]
    fn every_case_must_be_failed_by_a_bug() {
        let must_fail: Vec<_> = Bug::all().iter().flat_map(|bug| bug.must_fail()).collect();
        for case in topics().iter().flat_map(|topic| topic.cases) {
            assert!(must_fail.contains(&case.name), "nothing shows that {} can fail", case.name);
        }
    }

    #[test]
    fn the_cases_that_a_bug_fails_exist() {
        let known: Vec<_> = topics().iter().flat_map(|topic| topic.cases).map(|case| case.name).collect();
        for bug in Bug::all() {
            for name in [bug.must_fail(), bug.may_fail()].concat() {
                assert!(known.contains(&name), "{}: {name}", bug.name());
            }
        }
    }

    #[test]
    fn every_list_is_that_of_a_bug_or_a_group_and_every_group_has_cases() {
        for name in words().filter_map(|word| word.strip_suffix(':')) {
            let bug = name.split_once('/').map(|(_, bug)| bug);
            let is_known = |bug: &str| Bug::all().iter().any(|known| known.name() == bug);
            assert!(bug.map_or(name.starts_with('@'), is_known), "{name}");
        }
        for group in words().filter(|word| word.starts_with('@') && !word.ends_with(':')) {
            assert!(!list(group).is_empty(), "{group}");
        }
        for bug in Bug::all() {
            assert!(!bug.must_fail().is_empty(), "{}", bug.name());
        }
    }
}
