#include "states.h"

#include <stdlib.h>
#include <string.h>

#define LINE 64U
#define WORD 8U
#define SIZES_MAX 64
#define DEPTHS 4

/* ---- what may differ at an instant ---- */

/* One of the contents a line has had since the last drain. */
struct version {
	unsigned char bytes[LINE];
	size_t when;   /* the operation that gave it */
	unsigned next; /* a newer one, 0: none */
};

/* A line, or in `super`, where everything hangs on each word, 8 bytes. */
struct unit {
	enum medium_file file;
	uint64_t offset;
	unsigned first, last; /* the durable version, and the newest */
	unsigned versions;
};

struct sizes {
	uint64_t size[SIZES_MAX]; /* the durable one first */
	size_t when[SIZES_MAX];
	unsigned count;
};

struct instant {
	struct unit *units;
	unsigned count, capacity;
	struct version *versions; /* from 1 */
	unsigned version_count, version_capacity;
	uint32_t *unit_of[MEDIUM_FILES]; /* by number of the line: index + 1 */
	struct sizes sizes[MEDIUM_FILES];
	struct sizes names[MEDIUM_FILES];
	size_t *pending; /* operations that are not durable */
	size_t pending_count, pending_capacity;
	size_t now;
};

static struct instant instants[DEPTHS];

static unsigned granule(enum medium_file file)
{
	return file == FILE_SUPER ? WORD : LINE;
}

static void forget_units(struct instant *instant)
{
	for (unsigned i = 0; i < instant->count; i++)
		instant->unit_of[instant->units[i].file][instant->units[i].offset / granule(instant->units[i].file)] =
			0;
	instant->count = 0;
	instant->version_count = 1;
}

static unsigned add_version(struct instant *instant, const unsigned char *bytes, unsigned length)
{
	if (instant->version_count >= instant->version_capacity) {
		instant->version_capacity = instant->version_capacity ? 2 * instant->version_capacity : 1024;
		instant->versions =
			must_have(instant->versions, instant->version_capacity * sizeof(*instant->versions));
	}
	struct version *version = &instant->versions[instant->version_count];
	memset(version, 0, sizeof(*version));
	memcpy(version->bytes, bytes, length);
	version->when = instant->now;
	return instant->version_count++;
}

static struct unit *find_unit(struct walk *walk, struct instant *instant, enum medium_file file, uint64_t offset)
{
	uint32_t *number = &instant->unit_of[file][offset / granule(file)];
	if (*number != 0)
		return &instant->units[*number - 1];
	if (instant->count == instant->capacity) {
		instant->capacity = instant->capacity ? 2 * instant->capacity : 256;
		instant->units = must_have(instant->units, instant->capacity * sizeof(*instant->units));
	}
	unsigned first = add_version(instant, walk->world->files[file].bytes + offset, granule(file));
	instant->units[instant->count] =
		(struct unit){.file = file, .offset = offset, .first = first, .last = first, .versions = 1};
	*number = ++instant->count;
	return &instant->units[*number - 1];
}

/* [offset, offset + length) of the unit becomes `bytes`; NULL: zeros. */
static void change_unit(struct walk *walk, struct instant *instant, enum medium_file file, uint64_t at, uint64_t offset,
			uint64_t length, const unsigned char *bytes)
{
	unsigned size = granule(file);
	struct unit *unit = find_unit(walk, instant, file, at);
	unsigned char contents[LINE];
	memcpy(contents, instant->versions[unit->last].bytes, size);
	uint64_t from = offset > at ? offset - at : 0, to = offset + length < at + size ? offset + length - at : size;
	if (bytes != NULL)
		memcpy(contents + from, bytes + (at + from - offset), to - from);
	else
		memset(contents + from, 0, to - from);
	if (memcmp(contents, instant->versions[unit->last].bytes, size) == 0)
		return;
	unsigned number = add_version(instant, contents, size);
	instant->versions[unit->last].next = number;
	unit->last = number;
	unit->versions++;
}

static void change_units(struct walk *walk, struct instant *instant, enum medium_file file, uint64_t offset,
			 uint64_t length, const unsigned char *bytes)
{
	unsigned size = granule(file);
	for (uint64_t at = offset / size * size; at < offset + length; at += size)
		change_unit(walk, instant, file, at, offset, length, bytes);
}

/* Zeros where there is anything: in blocks that are in use, and where something is pending. */
static void clear_units(struct walk *walk, struct instant *instant, enum medium_file file, uint64_t offset,
			uint64_t end)
{
	unsigned size = granule(file);
	for (uint64_t block = offset / MEDIUM_BLOCK * MEDIUM_BLOCK; block < end; block += MEDIUM_BLOCK) {
		uint64_t from = block > offset ? block : offset,
			 to = block + MEDIUM_BLOCK < end ? block + MEDIUM_BLOCK : end;
		if (walk->world->files[file].used[block / MEDIUM_BLOCK]) {
			change_units(walk, instant, file, from, to - from, NULL);
			continue;
		}
		for (uint64_t at = from / size * size; at < to; at += size)
			if (instant->unit_of[file][at / size] != 0)
				change_unit(walk, instant, file, at, from, to - from, NULL);
	}
}

static void add_size(struct instant *instant, struct sizes *sizes, uint64_t size)
{
	if (sizes->count > 0 && sizes->size[sizes->count - 1] == size)
		return;
	if (sizes->count == SIZES_MAX) { /* those between are like one another */
		memmove(sizes->size + SIZES_MAX / 2, sizes->size + SIZES_MAX / 2 + 1,
			(SIZES_MAX / 2 - 1) * sizeof(sizes->size[0]));
		memmove(sizes->when + SIZES_MAX / 2, sizes->when + SIZES_MAX / 2 + 1,
			(SIZES_MAX / 2 - 1) * sizeof(sizes->when[0]));
		sizes->count--;
	}
	sizes->when[sizes->count] = instant->now;
	sizes->size[sizes->count++] = size;
}

static uint64_t newest(const struct sizes *sizes)
{
	return sizes->size[sizes->count - 1];
}

static void add_pending(struct walk *walk, struct instant *instant, const struct op *op)
{
	struct sizes *sizes = &instant->sizes[op->file];
	switch (op->kind) {
	case OP_STORE:
	case OP_DIRECT:
		if (op->offset + op->length > newest(sizes))
			add_size(instant, sizes, op->offset + op->length);
		change_units(walk, instant, op->file, op->offset, op->length, walk->recording->data + op->data);
		break;
	case OP_RESIZE:
		if (op->offset < newest(sizes))
			clear_units(walk, instant, op->file, op->offset, newest(sizes));
		add_size(instant, sizes, op->offset);
		break;
	case OP_PUNCH: clear_units(walk, instant, op->file, op->offset, op->offset + op->length); break;
	case OP_NAME: add_size(instant, &instant->names[op->file], op->offset); break;
	default: break;
	}
}

/* Lines that never changed, after all, are not looked at again. */
static void drop_constant_units(struct instant *instant)
{
	unsigned kept = 0;
	for (unsigned i = 0; i < instant->count; i++) {
		struct unit *unit = &instant->units[i];
		bool differs = unit->versions > 1;
		instant->unit_of[unit->file][unit->offset / granule(unit->file)] = differs ? kept + 1 : 0;
		if (differs)
			instant->units[kept++] = *unit;
	}
	instant->count = kept;
}

static void build_instant(struct walk *walk, struct instant *instant)
{
	forget_units(instant);
	for (int file = 0; file < MEDIUM_FILES; file++) {
		instant->now = 0;
		instant->sizes[file].count = instant->names[file].count = 0;
		add_size(instant, &instant->sizes[file], walk->world->files[file].size);
		add_size(instant, &instant->names[file], walk->world->files[file].name);
	}
	for (size_t i = 0; i < instant->pending_count; i++) {
		instant->now = instant->pending[i] + 1;
		add_pending(walk, instant, &walk->recording->ops[instant->pending[i]]);
	}
	drop_constant_units(instant);
}

/* How many states there are, `limit` + 1 when more than that. */
static uint64_t count_states(const struct instant *instant, uint64_t limit)
{
	uint64_t count = 1;
	for (unsigned i = 0; i < instant->count && count <= limit; i++)
		count *= instant->units[i].versions;
	for (int file = 0; file < MEDIUM_FILES && count <= limit; file++)
		count *= (uint64_t)instant->sizes[file].count * instant->names[file].count;
	return count <= limit ? count : limit + 1;
}

/* ---- making a state ---- */

static unsigned nth_version(const struct instant *instant, const struct unit *unit, uint64_t number)
{
	unsigned version = unit->first;
	while (number-- > 0)
		version = instant->versions[version].next;
	return version;
}

static void put_unit(struct walk *walk, const struct unit *unit, const unsigned char *bytes)
{
	uint64_t size = walk->world->files[unit->file].size, length = granule(unit->file);
	if (unit->offset >= size)
		return;
	if (length > size - unit->offset)
		length = size - unit->offset;
	world_write(walk->world, unit->file, unit->offset, bytes, length);
}

static void put_name(struct walk *walk, int file, uint64_t name)
{
	world_name(walk->world, (enum medium_file)file, (enum medium_name)name);
}

/* State `number` of all. */
static void make_numbered(struct walk *walk, struct instant *instant, uint64_t number)
{
	for (int file = 0; file < MEDIUM_FILES; file++) {
		struct sizes *sizes = &instant->sizes[file], *names = &instant->names[file];
		world_resize(walk->world, (enum medium_file)file, sizes->size[number % sizes->count]);
		number /= sizes->count;
		put_name(walk, file, names->size[number % names->count]);
		number /= names->count;
	}
	for (unsigned i = 0; i < instant->count; i++) {
		const struct unit *unit = &instant->units[i];
		unsigned version = nth_version(instant, unit, number % unit->versions);
		number /= unit->versions;
		if (version != unit->first)
			put_unit(walk, unit, instant->versions[version].bytes);
	}
}

enum shape {
	SHAPE_LIKELY,   /* each line may have arrived; how likely, differs by file */
	SHAPE_TORN,     /* the same, word by word */
	SHAPE_ALL_BUT,  /* everything has arrived but for a line or two */
	SHAPE_NONE_BUT, /* nothing has, but for a line or two */
	SHAPE_IN_ORDER, /* what was done before some instant has arrived */
	SHAPES
};

struct choice {
	enum shape shape;
	unsigned likely[MEDIUM_FILES]; /* of 8 */
	unsigned odd[2];               /* units that are not like the others */
	size_t until;
};

static struct choice choose(struct walk *walk, const struct instant *instant)
{
	struct choice choice = {.shape = (enum shape)random_below(&walk->random, SHAPES)};
	for (int file = 0; file < MEDIUM_FILES; file++) {
		uint64_t extreme = random_below(&walk->random, 4);
		choice.likely[file] = extreme == 0 ? 0 : extreme == 1 ? 8 : (unsigned)random_below(&walk->random, 9);
	}
	for (int i = 0; i < 2; i++)
		choice.odd[i] = instant->count ? (unsigned)random_below(&walk->random, instant->count) : 0;
	if (instant->pending_count > 0)
		choice.until = instant->pending[random_below(&walk->random, instant->pending_count)] + 1;
	return choice;
}

/* The version that is there when all done up to `until` has arrived. */
static unsigned version_until(const struct instant *instant, const struct unit *unit, size_t until)
{
	unsigned version = unit->first;
	for (unsigned next = instant->versions[version].next; next != 0 && instant->versions[next].when <= until;
	     next = instant->versions[next].next)
		version = next;
	return version;
}

static unsigned likely_version(struct walk *walk, const struct instant *instant, const struct unit *unit,
			       unsigned likely)
{
	uint64_t dice = random_next(&walk->random);
	if (dice % 8 >= likely)
		return unit->first;
	return unit->versions == 2 || (dice >> 8) % 2 ? unit->last
						      : nth_version(instant, unit, (dice >> 16) % unit->versions);
}

static unsigned choose_version(struct walk *walk, const struct instant *instant, const struct choice *choice,
			       unsigned number)
{
	const struct unit *unit = &instant->units[number];
	bool odd = number == choice->odd[0] || number == choice->odd[1];
	switch (choice->shape) {
	case SHAPE_ALL_BUT: return odd ? likely_version(walk, instant, unit, 2) : unit->last;
	case SHAPE_NONE_BUT: return odd ? likely_version(walk, instant, unit, 8) : unit->first;
	case SHAPE_IN_ORDER: return version_until(instant, unit, choice->until);
	default: return likely_version(walk, instant, unit, choice->likely[unit->file]);
	}
}

static uint64_t choose_size(struct walk *walk, const struct sizes *sizes, const struct choice *choice, int file)
{
	unsigned last = sizes->count - 1;
	switch (choice->shape) {
	case SHAPE_ALL_BUT:
	case SHAPE_NONE_BUT:
		if (random_below(&walk->random, 4) != 0)
			return sizes->size[choice->shape == SHAPE_ALL_BUT ? last : 0];
		break;
	case SHAPE_IN_ORDER:
		while (last > 0 && sizes->when[last] > choice->until)
			last--;
		return sizes->size[last];
	default:
		if (choice->likely[file] == 0 || choice->likely[file] == 8)
			return sizes->size[choice->likely[file] ? last : 0];
		break;
	}
	return sizes->size[random_below(&walk->random, sizes->count)];
}

/* A file may also have grown, or have been written back, in part. */
static uint64_t choose_between(struct walk *walk, const struct sizes *sizes, uint64_t size)
{
	if (sizes->count == 1 || random_below(&walk->random, 4) != 0)
		return size;
	uint64_t blocks = (sizes->size[0] > newest(sizes) ? sizes->size[0] : newest(sizes)) / MEDIUM_BLOCK;
	uint64_t other = random_below(&walk->random, blocks + 1) * MEDIUM_BLOCK;
	return other > sizes->size[0] ? other : size;
}

static void put_torn(struct walk *walk, const struct instant *instant, const struct choice *choice,
		     const struct unit *unit)
{
	unsigned char bytes[LINE];
	for (unsigned word = 0; word < granule(unit->file); word += WORD) {
		unsigned version = likely_version(walk, instant, unit, choice->likely[unit->file]);
		memcpy(bytes + word, instant->versions[version].bytes + word, WORD);
	}
	put_unit(walk, unit, bytes);
}

static void make_chosen(struct walk *walk, struct instant *instant)
{
	struct choice choice = choose(walk, instant);
	for (int file = 0; file < MEDIUM_FILES; file++) {
		uint64_t size = choose_size(walk, &instant->sizes[file], &choice, file);
		world_resize(walk->world, (enum medium_file)file, choose_between(walk, &instant->sizes[file], size));
		if (instant->names[file].count > 1)
			put_name(walk, file, choose_size(walk, &instant->names[file], &choice, file));
	}
	for (unsigned i = 0; i < instant->count; i++) {
		const struct unit *unit = &instant->units[i];
		if (choice.shape == SHAPE_TORN) {
			put_torn(walk, instant, &choice, unit);
			continue;
		}
		unsigned version = choose_version(walk, instant, &choice, i);
		if (version != unit->first)
			put_unit(walk, unit, instant->versions[version].bytes);
	}
}

/* ---- walking ---- */

struct position {
	int before, after; /* images */
	size_t at;
};

static const char *try_state(struct walk *walk, const struct position *position)
{
	walk->states++;
	const char *difference = walk->check(walk, position->before, position->after);
	if (difference == NULL && walk->keep != NULL && random_below(&walk->random, walk->keep_one_in) == 0)
		walk->keep(walk);
	if (difference != NULL)
		walk->at = position->at;
	return difference;
}

static const char *try_instant(struct walk *walk, struct instant *instant, const struct position *position)
{
	if (position->at < walk->from || (walk->most != 0 && walk->instants == walk->most))
		return NULL;
	build_instant(walk, instant);
	uint64_t count = count_states(instant, walk->exhaust);
	bool all = count <= walk->exhaust;
	uint64_t samples = all ? count : walk->samples;
	if (!all && walk->samples > 1 && !walk->quick)
		samples = 1 + random_below(&walk->random, 2 * walk->samples - 1);
	walk->instants++;
	walk->exhausted += all;
	const char *difference = NULL;
	for (uint64_t i = 0; i < samples && difference == NULL; i++) {
		size_t mark = journal_mark();
		if (all)
			make_numbered(walk, instant, i);
		else
			make_chosen(walk, instant);
		difference = try_state(walk, position);
		journal_revert(mark);
	}
	return difference;
}

static void apply(struct walk *walk, const struct op *op)
{
	switch (op->kind) {
	case OP_STORE:
	case OP_DIRECT:
		if (op->offset + op->length > walk->world->files[op->file].size)
			world_resize(walk->world, op->file, op->offset + op->length);
		world_write(walk->world, op->file, op->offset, walk->recording->data + op->data, op->length);
		break;
	case OP_RESIZE: world_resize(walk->world, op->file, op->offset); break;
	case OP_PUNCH: world_zero(walk->world, op->file, op->offset, op->length); break;
	case OP_NAME: put_name(walk, op->file, op->offset); break;
	default: break;
	}
	if (!walk->nested)
		journal_forget();
}

/* Whether a later one of the pending takes in what the caller stored there, or some of it: the old bytes
 * cannot arrive after the new ones. */
static bool is_flushed(const struct walk *walk, const struct instant *instant, size_t number)
{
	const struct op *direct = &walk->recording->ops[instant->pending[number]];
	uint64_t end = direct->offset + direct->length;
	for (size_t i = number + 1; i < instant->pending_count; i++) {
		const struct op *op = &walk->recording->ops[instant->pending[i]];
		if (op->file != direct->file)
			continue;
		if ((op->kind == OP_STORE && op->offset < end && op->offset + op->length > direct->offset) ||
		    (op->kind == OP_RESIZE && op->offset < end))
			return true;
	}
	return false;
}

/* What was done to the file is durable; but stores that nobody flushed still may or may not be. */
static void drain(struct walk *walk, struct instant *instant, const struct op *fence)
{
	size_t kept = 0;
	for (size_t i = 0; i < instant->pending_count; i++) {
		const struct op *op = &walk->recording->ops[instant->pending[i]];
		bool drained = fence->kind == OP_DRAIN_NAMES ? op->kind == OP_NAME
							     : op->file == fence->file && op->kind != OP_NAME;
		if (drained && op->kind == OP_DIRECT && !is_flushed(walk, instant, i))
			drained = false;
		if (drained)
			apply(walk, op);
		else
			instant->pending[kept++] = instant->pending[i];
	}
	instant->pending_count = kept;
}

static void make_pending(struct instant *instant, size_t number)
{
	if (instant->pending_count == instant->pending_capacity) {
		instant->pending_capacity = instant->pending_capacity ? 2 * instant->pending_capacity : 256;
		instant->pending = must_have(instant->pending, instant->pending_capacity * sizeof(size_t));
	}
	instant->pending[instant->pending_count++] = number;
}

static const char *step(struct walk *walk, struct instant *instant, struct position *position)
{
	const struct op *op = &walk->recording->ops[position->at];
	const char *difference = NULL;
	switch (op->kind) {
	case OP_BEGIN: position->after = (int)op->offset; return NULL;
	case OP_END:
		position->before = position->after = (int)op->offset;
		return walk->process ? NULL : try_instant(walk, instant, position);
	case OP_DRAIN:
	case OP_DRAIN_NAMES:
		if (walk->process)
			return NULL;
		difference = try_instant(walk, instant, position);
		if (difference == NULL)
			drain(walk, instant, op);
		return difference;
	default:
		make_pending(instant, position->at);
		if (!walk->process)
			return NULL;
		difference = try_instant(walk, instant, position);
		instant->pending_count = 0;
		if (difference == NULL)
			apply(walk, op);
		return difference;
	}
}

static struct instant *instant_for(const struct walk *walk)
{
	if (walk->depth >= DEPTHS)
		give_up("too deep");
	struct instant *instant = &instants[walk->depth];
	for (int file = 0; instant->unit_of[0] == NULL && file < MEDIUM_FILES; file++) {
		/* Zeroed lazily by the kernel. */
		instant->unit_of[MEDIUM_FILES - 1 - file] = calloc(MEDIUM_BYTES / LINE, sizeof(uint32_t));
	}
	forget_units(instant);
	instant->pending_count = 0;
	return instant;
}

const char *walk_states(struct walk *walk)
{
	struct instant *instant = instant_for(walk);
	struct position position = {.before = walk->image, .after = walk->image};
	const char *difference = NULL;
	for (; position.at < walk->recording->count && difference == NULL; position.at++)
		difference = step(walk, instant, &position);
	position.at = walk->recording->count;
	if (difference == NULL)
		difference = try_instant(walk, instant, &position);
	forget_units(instant);
	return difference;
}
