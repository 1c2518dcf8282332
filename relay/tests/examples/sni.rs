//! `sni`, with openssl and curl and with bytes by hand.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use testkit::proxy::{Proxy, free_port};

use crate::{accept, connect, listen, read, read_all, run};

pub(crate) fn start(server_port: &str) -> Proxy {
    Proxy::example("sni").args(["0", &format!("a.example=127.0.0.1:{server_port}")]).start().unwrap()
}

pub(crate) fn open(proxy: &Proxy, server: &TcpListener) -> (TcpStream, TcpStream) {
    let mut client = connect(proxy);
    let hello = hello("a.example");
    client.write_all(&hello).unwrap();
    let server = accept(server);
    assert_eq!(read(&server, hello.len()), hello);
    (client, server)
}

/// A ClientHello that names a host, in two records.
fn hello(host: &str) -> Vec<u8> {
    let vector = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let names = vector(&[&[0][..], &vector(host.as_bytes())].concat());
    let extensions = vector(&[&[0, 5][..], &vector(&[1, 0, 0, 0, 0]), &[0, 0], &vector(&names)].concat());
    let body = [&[3, 3][..], &[9; 32], &[0], &vector(&[0x13, 1]), &[1, 0], &extensions].concat();
    let message = [&[1, 0][..], &vector(&body)].concat();
    let (first, second) = message.split_at(50);
    [&[22, 3, 1][..], &vector(first), &[22, 3, 1], &vector(second)].concat()
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
    let made = run(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            &subject,
            "-addext",
            &alternative,
            "-keyout",
            &key,
            "-out",
            &certificate,
        ],
    );
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
fn a_hello_may_come_byte_by_byte_and_reaches_the_server_unchanged() {
    let (server, port) = listen();
    let proxy = start(&port);
    let mut client = connect(&proxy);
    client.set_nodelay(true).unwrap();
    let hello = hello("A.Example"); // names are compared without case (RFC 4343)
    for byte in &hello {
        client.write_all(&[*byte]).unwrap();
    }
    client.write_all(b"behind").unwrap();
    let server = accept(&server);
    assert_eq!(read(&server, hello.len() + 6), [&hello[..], b"behind"].concat());
}

#[test]
fn a_client_that_names_no_known_server_receives_an_alert() {
    let (_server, port) = listen();
    let proxy = start(&port);
    for bytes in [&hello("b.example")[..], b"GET / HTTP/1.1\r\n\r\n", &[22, 3, 1, 0, 4, 2, 0, 0, 0]] {
        let mut client = connect(&proxy);
        client.write_all(bytes).unwrap();
        assert_eq!(read_all(&client), [21, 3, 3, 0, 2, 2, 112]);
    }
}

#[test]
fn a_hello_that_does_not_end_ends_the_session() {
    let (_server, port) = listen();
    let proxy = start(&port);
    let mut client = connect(&proxy);
    let record = [&[22, 3, 1, 0xff, 0xff, 1, 0xff, 0xff, 0xff][..], &vec![0; 64 * 1024]].concat();
    // A write may meet the reset, and then a read finds the end.
    let end = client.write_all(&record).and_then(|()| client.read(&mut [0]));
    assert!(matches!(end.unwrap_err().kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe));
}
