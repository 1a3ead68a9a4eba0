-- Numbers are reserved by a call, in a short transaction of its own, also where a worker needs one.

drop policy worker on directory.number;
revoke select, insert, update on directory.number from directory_worker;
