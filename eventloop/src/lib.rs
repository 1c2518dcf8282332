//! eventloop
