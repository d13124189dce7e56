//! Covers "nobody loses anything": edits of the key file by several processes and by hand, a kill at any moment, and
//! disks that are full, read-only or mounted in odd ways. The processes are this test binary, started again with a
//! job; what the API and the command line do on top of it is tested there.

mod disk;
mod job;
mod kill;
mod rivals;
