"""What the races share: running and measuring a program, the database that is raced on, the facts of the machine."""
