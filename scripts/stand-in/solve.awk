# Chooses the packages for a list of world words from APKINDEX files: a small form of
# apk's solver for the stand-in (section 5.4 to 5.6 of the Alpine reference).
#
# Input: awk -f solve.awk repo=0 tag= INDEX0 repo=1 tag=@edge INDEX1 ..., with WORLD (the
# words) and ARCH in the environment. Output, in installation order, one line per package:
#     <repository number> <name> <version> <identity> <the identity's SHA-1 in hex>
# Exit status 99 for a malformed world word (nothing is printed). A word that nothing
# satisfies is dropped without a sound, as --initramfs-diskless-boot does; a conflict leaves
# nothing to install.
#
# NOT imitated: order_id and dependency merging when several unversioned providers compete,
# replaces, pinning inheritance, the identity operator `><`.

function usable_arch(i) { return A[i] == "" || A[i] == ENVIRON["ARCH"] || A[i] == "noarch" }

# Splits a version into KIND[1..n] and PART[1..n] (5.5): 1 first number, 2 number, 3 letter,
# 4 suffix, 5 suffix number, 6 hash, 7 revision, 8 end, 9 invalid. Returns n.
function split_version(v, KIND, PART,    n, k) {
	n = 0; k = 0
	if (!match(v, /^[0-9]+/)) { KIND[1] = 9; return 1 }
	KIND[++n] = 1; PART[n] = substr(v, 1, RLENGTH); v = substr(v, RLENGTH + 1); k = 1
	while (v != "") {
		if (k <= 2 && match(v, /^\.[0-9]+/)) { k = 2; PART[n + 1] = substr(v, 2, RLENGTH - 1) }
		else if (k <= 2 && match(v, /^[a-z]/)) { k = 3; PART[n + 1] = substr(v, 1, 1) }
		else if (k <= 5 && match(v, /^_(alpha|beta|pre|rc|cvs|svn|git|hg|p)/)) { k = 4; PART[n + 1] = substr(v, 2, RLENGTH - 1) }
		else if (k == 4 && match(v, /^[0-9]+/)) { k = 5; PART[n + 1] = substr(v, 1, RLENGTH) }
		else if (k <= 5 && match(v, /^~[0-9a-f]+/)) { k = 6; PART[n + 1] = substr(v, 2, RLENGTH - 1) }
		else if (k <= 6 && match(v, /^-r[0-9]+/)) { k = 7; PART[n + 1] = substr(v, 3, RLENGTH - 2) }
		else { KIND[++n] = 9; return n }
		KIND[++n] = k; v = substr(v, RLENGTH + 1)
	}
	KIND[++n] = 8
	return n
}

function is_version(v,    K, Q, n) { n = split_version(v, K, Q); return K[n] == 8 }

function text_order(a, b) { return (a "" < b "") ? -1 : (a "" > b "") ? 1 : 0 }
function number_order(a, b) { return (a + 0 < b + 0) ? -1 : (a + 0 > b + 0) ? 1 : 0 }
function suffix_rank(s) { return index("alpha beta pre rc cvs svn git hg p ", s " ") }

# -1, 0 or 1. With fuzzy, a right side that ended first is equal.
function compare(a, b, fuzzy,    K, Q, L, S, i, c) {
	split_version(a, K, Q); split_version(b, L, S)
	for (i = 1; K[i] == L[i]; i++) {
		if (K[i] >= 8) return 0
		if (K[i] == 3 || K[i] == 6) c = text_order(Q[i], S[i])
		else if (K[i] == 4) c = number_order(suffix_rank(Q[i]), suffix_rank(S[i]))
		else if (K[i] == 2 && (Q[i] ~ /^0/ || S[i] ~ /^0/)) c = text_order(Q[i], S[i])
		else c = number_order(Q[i], S[i])
		if (c) return c
	}
	if (fuzzy && L[i] == 8) return 0
	if (K[i] == 4 && Q[i] ~ /^(alpha|beta|pre|rc)$/) return -1
	if (L[i] == 4 && S[i] ~ /^(alpha|beta|pre|rc)$/) return 1
	return K[i] > L[i] ? -1 : 1
}

# Reads one dependency into NOT, NAME, TAG, OP, WANT; returns 0 when it is malformed.
function parse(word) {
	NOT = TAG = OP = WANT = ""
	if (substr(word, 1, 1) == "!") { NOT = 1; word = substr(word, 2) }
	if (match(word, /[<>=~]+/)) {
		OP = substr(word, RSTART, RLENGTH); WANT = substr(word, RSTART + RLENGTH)
		word = substr(word, 1, RSTART - 1)
		if (!is_version(WANT)) return 0
	}
	if (match(word, /@/)) { TAG = substr(word, RSTART); word = substr(word, 1, RSTART - 1) }
	NAME = word
	return NAME != ""
}

function satisfies(version, op, want,    c) {
	if (op == "") return 1
	if (version == "") return 0             # an unversioned provide never meets a version
	if (op ~ /</ && op ~ />/ && op ~ /=/) return 1
	c = compare(version, want, op ~ /~/)
	if (c == 0) return op ~ /[=~]/
	return c < 0 ? op ~ /</ : op ~ />/
}

# Whether package i may be taken: architecture, the constraints of world on its name, and
# every dependency of its own.
function selectable(i,    n, words, w, c, part) {
	if (i in SELECTABLE) return SELECTABLE[i]
	SELECTABLE[i] = 1                       # a circle of dependencies is no obstacle
	if (!usable_arch(i)) return SELECTABLE[i] = 0
	n = split(LIMIT[P[i]], words, " ")
	for (w = 1; w <= n; w++) {
		split(words[w], part, "|")
		if (!satisfies(V[i], part[1], part[2])) return SELECTABLE[i] = 0
	}
	n = split(D[i], words, " ")
	for (w = 1; w <= n; w++) {
		if (!parse(words[w])) return SELECTABLE[i] = 0
		if (NOT) continue
		c = choose(NAME, OP, WANT, "", 1)
		if (!c) return SELECTABLE[i] = 0
	}
	return 1
}

# Whether candidate a (at version va of the wanted name) is better than b (5.6, b to g).
function better(a, va, b, vb,    c) {
	if (!b) return 1
	c = (va == "" || vb == "") ? 0 : compare(va, vb, 0)
	if (c) return c > 0
	if (P[a] == P[b]) { c = compare(V[a], V[b], 0); if (c) return c > 0 }
	if (K_[a] + 0 != K_[b] + 0) return K_[a] + 0 > K_[b] + 0
	return REPO[a] < REPO[b]
}

# The package for a dependency, 0 when there is none. With any, an unversioned provider
# counts even when nothing makes apk take it by itself.
function choose(name, op, want, tag, any,    n, list, e, i, v, best, bestv) {
	best = 0; bestv = ""
	n = split(GIVES[name], list, " ")
	for (e = 1; e <= n; e++) {
		split(list[e], ENTRY, "|"); i = ENTRY[1]; v = ENTRY[2]
		if (T[i] != "" && T[i] != tag) continue
		if (i in CHOSEN && satisfies(v, op, want)) return i
	}
	for (e = 1; e <= n; e++) {
		split(list[e], ENTRY, "|"); i = ENTRY[1]; v = ENTRY[2]
		if (T[i] != "" && T[i] != tag) continue
		if (!satisfies(v, op, want)) continue
		if (v == "" && !any && K_[i] + 0 == 0 && !(P[i] in REQUIRED)) continue
		if (P[i] in TAKEN && TAKEN[P[i]] != i) continue
		if (!selectable(i)) continue
		if (better(i, v, best, bestv)) { best = i; bestv = v }
	}
	return best
}

# Puts package i and, before it, its dependencies into ORDER.
function take(i,    n, words, w, c) {
	if (i in CHOSEN) return
	CHOSEN[i] = 1; TAKEN[P[i]] = i; REQUIRED[P[i]] = 1
	n = split(D[i], words, " ")
	for (w = 1; w <= n; w++) {
		parse(words[w])
		if (NOT) { CONFLICT[++conflicts] = words[w]; continue }
		REQUIRED[NAME] = 1
		c = choose(NAME, OP, WANT, "", 0)
		if (c) take(c); else LATER[++later] = words[w]
	}
	ORDER[++ordered] = i
}

function is_met(word,    n, list, e) {
	parse(word)
	n = split(GIVES[NAME], list, " ")
	for (e = 1; e <= n; e++) {
		split(list[e], ENTRY, "|")
		if (ENTRY[1] in CHOSEN && satisfies(ENTRY[2], OP, WANT)) return !NOT
	}
	return NOT ? 1 : 0
}

# Base64 to hex: 40 digits for the 28 characters of a SHA-1. Two characters are three digits.
# (Debian's busybox awk has no power operator.)
function hex_of(text,    i, bits, out) {
	sub(/=$/, "A", text)                    # padding counts as zero bits
	for (i = 1; i < length(text); i += 2) {
		bits = index(BASE64, substr(text, i, 1)) * 64 + index(BASE64, substr(text, i + 1, 1)) - 65
		out = out sprintf("%03x", bits)
	}
	return substr(out, 1, 40)
}

BEGIN { BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" }

/^C:/ { C[++count] = substr($0, 3); REPO[count] = repo; T[count] = tag; next }
/^P:/ { P[count] = substr($0, 3); next }
/^V:/ { V[count] = substr($0, 3); next }
/^A:/ { A[count] = substr($0, 3); next }
/^D:/ { D[count] = substr($0, 3); next }
/^p:/ { PROVIDES[count] = substr($0, 3); next }
/^i:/ { IIF[count] = substr($0, 3); next }
/^k:/ { K_[count] = substr($0, 3); next }

END {
	for (i = 1; i <= count; i++) {
		GIVES[P[i]] = GIVES[P[i]] " " i "|" V[i]
		n = split(PROVIDES[i], words, " ")
		for (w = 1; w <= n; w++)
			if (parse(words[w])) GIVES[NAME] = GIVES[NAME] " " i "|" WANT
	}
	worlds = split(ENVIRON["WORLD"], WORD, " ")
	for (w = 1; w <= worlds; w++) {
		if (!parse(WORD[w])) {
			print "ERROR: '" WORD[w] "' is not a valid world dependency, format is name(@tag)([<>~=]version)" >"/dev/stderr"
			exit 99
		}
		if (NOT) { CONFLICT[++conflicts] = WORD[w]; continue }
		REQUIRED[NAME] = 1
		if (OP != "") LIMIT[NAME] = LIMIT[NAME] " " OP "|" WANT
	}
	for (w = 1; w <= worlds; w++) {
		parse(WORD[w])
		if (NOT) continue
		c = choose(NAME, OP, WANT, TAG, 0)
		if (c) take(c)
	}
	for (w = 1; w <= later; w++) {
		parse(LATER[w])
		c = choose(NAME, OP, WANT, "", 1)
		if (c) take(c)
	}
	do {                                    # install_if, until nothing more is triggered
		more = 0
		for (i = 1; i <= count; i++) {
			if (IIF[i] == "" || i in CHOSEN || P[i] in TAKEN || !selectable(i)) continue
			n = split(IIF[i], words, " ")
			for (w = 1; w <= n && is_met(words[w]); w++);
			if (w > n) { take(i); more = 1 }
		}
	} while (more)
	for (w = 1; w <= conflicts; w++)
		if (!is_met(CONFLICT[w])) {
			print "ERROR: unable to select packages: conflict: " CONFLICT[w] >"/dev/stderr"
			exit 0
		}
	for (w = 1; w <= ordered; w++) {
		i = ORDER[w]
		print REPO[i], P[i], V[i], C[i], hex_of(substr(C[i], 3))
	}
}
