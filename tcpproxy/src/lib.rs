//! tcpproxy
