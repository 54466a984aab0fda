/* What small files contained that were mapped shared and writable. */
#ifndef RESTORE_FILE_BYTES_H
#define RESTORE_FILE_BYTES_H

#include "restore/image.h"

/* Writes it back; refuses when it cannot be written. After undo_changes() and check_files(). */
void write_file_bytes(const struct image *image);

#endif
