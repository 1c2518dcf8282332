use super::*;
use http::header::{CACHE_CONTROL, VARY};

fn get(uri: &str) -> Request<()> {
    Request::get(uri).header("host", "a").body(()).unwrap()
}

fn response() -> Response<()> {
    Response::builder().header(CACHE_CONTROL, "max-age=60").body(()).unwrap()
}

/// Records and keeps a body of this length; `false` if there was no room for the recording.
fn keep(cache: &mut Cache, request: &Request<()>, response: &Response<()>, length: usize) -> bool {
    let candidate = Candidate::new(request, response).unwrap();
    let mut recording = cache.record();
    for piece in vec![b'x'; length].chunks(1000) {
        if !recording.push(piece, cache) {
            return false;
        }
    }
    cache.keep(candidate, response, recording.into_body(), request);
    verify_invariants(cache);
    true
}

fn hit(cache: &Cache, request: &Request<()>) -> Option<Rc<CachedBody>> {
    match cache.find(request) {
        Found::Fresh((_, body)) => Some(body),
        _ => None,
    }
}

fn verify_invariants(cache: &Cache) {
    assert!(cache.budget.has(0), "more than the budget is used");
    assert_eq!(cache.variants.values().map(Vec::len).sum::<usize>(), cache.entries.len());
    assert!(cache.variants.values().all(|keys| !keys.is_empty() && keys.len() <= MAX_VARIANTS));
    assert!(cache.entries.keys().all(|key| cache.queue.contains(&key)));
    assert!(cache.queue.len() <= 2 * cache.entries.len() + MAX_VARIANTS + 1);
}

#[test]
fn entries_that_were_not_used_are_evicted_first() {
    let mut cache = Cache::new(100_000, 50_000);
    for number in 0..6 {
        assert!(keep(&mut cache, &get(&format!("http://a/{number}")), &response(), 10_000));
    }
    assert!(hit(&cache, &get("http://a/0")).is_some());
    for number in 6..9 {
        assert!(keep(&mut cache, &get(&format!("http://a/{number}")), &response(), 10_000));
    }
    assert!(hit(&cache, &get("http://a/0")).is_some(), "it was used");
    assert!(hit(&cache, &get("http://a/1")).is_none());
    assert!(hit(&cache, &get("http://a/8")).is_some());
}

#[test]
fn recordings_count_from_their_first_byte_to_their_last() {
    let mut cache = Cache::new(100_000, 50_000);
    let mut recordings: Vec<Recording> = (0..5).map(|_| cache.record()).collect();
    let recorded = recordings
        .iter_mut()
        .filter_map(|recording| recording.push(&[0; 30_000], &mut cache).then_some(()))
        .count();
    assert_eq!(recorded, 3);
    assert!(!keep(&mut cache, &get("http://a/"), &response(), 20_000));
    recordings.clear();
    assert!(keep(&mut cache, &get("http://a/"), &response(), 20_000));
}

#[test]
fn a_recording_makes_room_by_evicting() {
    let mut cache = Cache::new(100_000, 50_000);
    assert!(keep(&mut cache, &get("http://a/"), &response(), 40_000));
    let mut recordings = [cache.record(), cache.record()];
    for recording in &mut recordings {
        assert!(recording.push(&[0; 40_000], &mut cache));
    }
    assert!(hit(&cache, &get("http://a/")).is_none());
    verify_invariants(&cache);
}

#[test]
fn evicted_bodies_count_as_long_as_clients_are_sent_them() {
    let mut cache = Cache::new(100_000, 50_000);
    let mut held = Vec::new();
    for number in 0..10 {
        let request = get(&format!("http://a/{number}"));
        keep(&mut cache, &request, &response(), 30_000);
        held.extend(hit(&cache, &request));
    }
    assert!(held.iter().map(|body| body.as_slice().len()).sum::<usize>() <= 100_000);
    assert_eq!(held.len(), 3);
    held.clear();
    assert!(keep(&mut cache, &get("http://a/"), &response(), 30_000));
}

#[test]
fn a_body_that_is_too_large_is_not_kept() {
    let mut cache = Cache::new(100_000, 50_000);
    assert!(keep(&mut cache, &get("http://a/"), &response(), 50_000));
    assert!(!keep(&mut cache, &get("http://a/"), &response(), 50_001));
    assert!(!keep(&mut Cache::new(0, 50_000), &get("http://a/"), &response(), 1));
}

#[test]
fn heads_count_and_so_do_many_empty_bodies() {
    let mut cache = Cache::new(100_000, 50_000);
    for number in 0..1000 {
        keep(&mut cache, &get(&format!("http://a/{number}")), &response(), 0);
    }
    assert!(cache.entries.len() < 50, "{}", cache.entries.len());
    let mut cache = Cache::new(100_000, 50_000);
    for number in 0..1000 {
        keep(&mut cache, &get(&format!("http://a/?{}{number}", "x".repeat(5000))), &response(), 0);
    }
    assert!(cache.entries.len() <= 5, "{}", cache.entries.len());
}

#[test]
fn a_uri_has_few_variants_and_the_latest_stay() {
    let mut cache = Cache::new(1_000_000, 50_000);
    let response =
        Response::builder().header(CACHE_CONTROL, "max-age=60").header(VARY, "x").body(()).unwrap();
    let request = |value: usize| Request::get("http://a/").header("x", value).body(()).unwrap();
    for value in 0..100 {
        assert!(keep(&mut cache, &request(value), &response, 10));
    }
    assert_eq!(cache.entries.len(), MAX_VARIANTS);
    assert!(hit(&cache, &request(99)).is_some() && hit(&cache, &request(0)).is_none());
    for _ in 0..100 {
        assert!(
            keep(&mut cache, &request(99), &response, 10),
            "one that is replaced takes the place of the old one"
        );
    }
    assert_eq!(cache.entries.len(), MAX_VARIANTS);
    cache.forget(&request(0));
    verify_invariants(&cache);
    assert!(cache.entries.is_empty());
}
