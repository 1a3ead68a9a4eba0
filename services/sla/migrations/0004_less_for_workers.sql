-- Numbers are reserved by a call, in a short transaction of its own, also where a worker needs one.

drop policy worker on sla.number;
revoke select, insert, update on sla.number from sla_worker;
