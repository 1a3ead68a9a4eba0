-- Numbers are reserved by a call, in a short transaction of its own, also where a worker needs one.

drop policy worker on change.number;
revoke select, insert, update on change.number from change_worker;
