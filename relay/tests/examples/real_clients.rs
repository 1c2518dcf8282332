//! The examples with curl and openssl, which have to be installed.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use testkit::proxy::{Proxy, free_port};

use crate::{accept, limit, listen, read, socks5};

/// Runs a program of the system to its end: its exit status and its output.
fn run(program: &str, arguments: &[impl AsRef<OsStr>]) -> (Option<i32>, Vec<u8>) {
    let output = Command::new(program).args(arguments).output();
    let output =
        output.unwrap_or_else(|error| panic!("{program} is needed (apt-get install {program}): {error}"));
    (output.status.code(), [output.stdout, output.stderr].concat())
}

#[test]
fn a_download_by_curl_takes_as_long_as_the_rate_demands() {
    let (server, port) = listen();
    let proxy = limit::start_with(&port, "1000000");
    let body: Vec<u8> = (0..500_000_u32).map(|i| i as u8).collect();
    let server = serve_once(server, body.clone());
    let begin = Instant::now();
    let url = format!("http://{}/", proxy.address());
    assert_eq!(run("curl", &["--silent", "--show-error", &url]), (Some(0), body));
    assert!(begin.elapsed() > Duration::from_millis(475), "{:?} for half a second's bytes", begin.elapsed());
    server.join().unwrap();
}

/// A directory with a file, and a certificate and key for this name.
fn site(name: &str, file: &[u8]) -> PathBuf {
    let directory =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("sni-{name}-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("file"), file).unwrap();
    let path = |name: &str| directory.join(name).display().to_string();
    let (key, certificate) = (path("key.pem"), path("certificate.pem"));
    let (subject, alternative) = (format!("/CN={name}"), format!("subjectAltName=DNS:{name}"));
    let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    let named = ["-subj", &subject, "-addext", &alternative, "-keyout", &key, "-out", &certificate];
    let made = run("openssl", &request.split(' ').chain(named).collect::<Vec<_>>());
    assert_eq!(made.0, Some(0), "{}", String::from_utf8_lossy(&made.1));
    directory
}

/// `openssl s_server` that serves the files of a directory.
fn serve(directory: &Path) -> Proxy {
    let port = free_port().unwrap();
    let (accept, path) = (format!("127.0.0.1:{port}"), |name: &str| directory.join(name));
    let shell = "cd \"$0\" && exec openssl s_server -quiet -WWW -accept \"$1\" -cert \"$2\" -key \"$3\"";
    Proxy::command("sh")
        .args(["-c", shell])
        .args([
            directory.as_os_str(),
            accept.as_ref(),
            path("certificate.pem").as_ref(),
            path("key.pem").as_ref(),
        ])
        .start_on(port)
        .expect("openssl is needed (apt-get install openssl)")
}

#[test]
fn curl_reaches_the_server_that_it_names_and_receives_every_byte() {
    let files = [vec![b'a'; 300_000], vec![b'b'; 300_000]];
    let names = ["a.example", "b.example"];
    let sites = [site(names[0], &files[0]), site(names[1], &files[1])];
    let servers = [serve(&sites[0]), serve(&sites[1])];
    let route = |i: usize| format!("{}={}", names[i], servers[i].address());
    let proxy = Proxy::example("sni").args(["0", &route(0), &route(1)]).start().unwrap();
    let port = proxy.address().port();
    for i in [0, 1] {
        let certificate = sites[i].join("certificate.pem").display().to_string();
        let (resolve, url) =
            (format!("{}:{port}:127.0.0.1", names[i]), format!("https://{}:{port}/file", names[i]));
        let arguments =
            ["--silent", "--show-error", "--http0.9", "--cacert", &certificate, "--resolve", &resolve, &url];
        let (status, output) = run("curl", &arguments);
        assert_eq!(status, Some(0), "{}", String::from_utf8_lossy(&output[..output.len().min(300)]));
        assert!(output.ends_with(&files[i]), "{} bytes", output.len());
    }
    let address = proxy.address().to_string();
    let (status, output) = run("openssl", &["s_client", "-connect", &address, "-servername", "c.example"]);
    assert_ne!(status, Some(0));
    let output = String::from_utf8_lossy(&output).into_owned();
    assert!(output.contains("unrecognized name"), "{output}");
    sites.iter().for_each(|site| fs::remove_dir_all(site).unwrap());
}

#[test]
fn curl_reaches_servers_by_ipv4_ipv6_and_name() {
    for (bind, host, option) in [
        ("127.0.0.1:0", "127.0.0.1", "--socks5"),
        ("[::1]:0", "[::1]", "--socks5"),
        ("127.0.0.1:0", "localhost", "--socks5"),
        ("127.0.0.1:0", "localhost", "--socks5-hostname"),
        ("127.0.0.1:0", "127.0.0.1", "--socks5-hostname"),
    ] {
        let proxy = socks5::start("");
        let server = TcpListener::bind(bind).unwrap_or_else(|error| panic!("{bind} is needed: {error}"));
        let url = format!("http://{host}:{}/", server.local_addr().unwrap().port());
        let server = serve_once(server, vec![b'x'; 300_000]);
        let socks = proxy.address().to_string();
        let (status, output) = run("curl", &["--silent", "--show-error", option, &socks, &url]);
        assert_eq!(
            status,
            Some(0),
            "{option} {url}: {}",
            String::from_utf8_lossy(&output[..output.len().min(300)])
        );
        assert_eq!(output, [b'x'; 300_000]);
        server.join().unwrap();
    }
}

/// Serves one HTTP request with this body, on a thread of its own.
fn serve_once(listener: TcpListener, body: Vec<u8>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut stream = accept(&listener);
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.extend(read(&stream, 1));
        }
        let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
    })
}
