//! ringbuf
