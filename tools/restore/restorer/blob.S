/* The restorer's code as data of respct-restore. */
	.section .rodata
	.globl restorer_blob, restorer_blob_end
	.p2align 4
restorer_blob:
	.incbin RESTORER_BLOB
restorer_blob_end:
	.section .note.GNU-stack,"",@progbits
