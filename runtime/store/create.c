/*
 * Creating a store: a crash at any instant leaves none, or one that is whole and empty.
 */
#include <errno.h>

#include "internal.h"

#define NEW_SUPER_NAME "super.new" /* renamed to `super` when complete: then the store exists */

static int make_files(int directory, const void *super)
{
	int error = rt_persist_make_file(directory, "log", NULL, 0);
	if (error == 0)
		error = rt_persist_make_file(directory, "home", NULL, 0);
	if (error == 0)
		error = rt_persist_make_file(directory, "index", NULL, 0);
	if (error == 0)
		error = rt_persist_make_file(directory, NEW_SUPER_NAME, super, SUPER_FILE_BYTES);
	if (error == 0) /* or power lost after the rename may leave `super` without the others */
		error = rt_persist_drain_directory(directory);
	if (error == 0)
		error = rt_persist_rename(directory, NEW_SUPER_NAME, "super");
	if (error == 0)
		error = rt_persist_drain_directory(directory);
	if (error < 0)
		rt_store_explain("%s", rt_error_text(error));
	return error;
}

static int create_in(struct store *store, int directory, enum store_durability durability)
{
	int error = rt_store_take_lock(store, directory, 0, true, NULL);
	uint64_t store_id, run_id;
	if (error == 0)
		error = rt_store_random(&store_id);
	if (error == 0)
		error = rt_store_random(&run_id);
	if (error < 0)
		return error;
	rt_store_compose_super(store->piece, durability, store_id, run_id);
	error = rt_store_exists(directory); /* another process may have been faster */
	if (error == 0)
		error = rt_store_has_others(directory);
	return error < 0 ? error : make_files(directory, store->piece);
}

int rt_store_create(const char *path, enum store_durability durability)
{
	if (durability != STORE_DURABILITY_PROCESS && durability != STORE_DURABILITY_POWER)
		return -EINVAL;
	int directory = rt_store_open_directory(path, true, true);
	if (directory < 0)
		return directory;
	/* Looked at before the lock is: closing the lock file would release a lock this process holds. */
	int error = rt_store_exists(directory);
	struct store *store = error < 0 ? NULL : rt_store_new(true);
	if (error == 0)
		error = store == NULL ? -ENOMEM : create_in(store, directory, durability);
	rt_store_close(store);
	rt_sys_close(directory);
	return error;
}
