//! The change service: request, approve, schedule, carry out, review.
