# Writes SQL: transfers between accounts in transactions, every seventh rolled back, with the sum checked all along.
BEGIN {
	if (mode == "")
		mode = "DELETE"
	print ".bail on"
	print "PRAGMA journal_mode = " mode ";"
	print "PRAGMA synchronous = OFF;"
	print "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, note TEXT);"
	print "CREATE TABLE transfer (id INTEGER PRIMARY KEY, source INTEGER, target INTEGER, amount INTEGER);"
	print "CREATE INDEX by_source ON transfer (source);"
	print "INSERT INTO account SELECT value, 1000, hex(value * 7919) FROM generate_series(1, 500);"
	for (i = 1; i <= transactions; i++) {
		source = i * 7919 % 500 + 1
		target = i * 104729 % 500 + 1
		amount = i % 97
		print "BEGIN;"
		print "UPDATE account SET balance = balance - " amount ", note = note || '" i % 10 "' WHERE id = " source ";"
		print "INSERT INTO transfer (source, target, amount) VALUES (" source ", " target ", " amount ");"
		print "UPDATE account SET balance = balance + " amount " WHERE id = " target ";"
		print i % 7 == 0 ? "ROLLBACK;" : "COMMIT;"
		if (i % 50 == 0)
			print "SELECT " i ", sum(balance), (SELECT count(*) FROM transfer) FROM account;"
		if (i % 400 == 0)
			print "VACUUM;"
	}
	print "PRAGMA integrity_check;"
	print "SELECT id, balance, length(note) FROM account ORDER BY balance, id;"
	print "SELECT count(*), sum(amount), sum(source), sum(target) FROM transfer;"
}
