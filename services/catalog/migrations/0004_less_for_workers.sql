-- Numbers are reserved by a call, in a short transaction of its own, also where a worker needs one.

drop policy worker on catalog.number;
revoke select, insert, update on catalog.number from catalog_worker;
