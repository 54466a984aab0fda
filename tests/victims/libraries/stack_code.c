/* A library that is linked to need executable stacks, which the victim dlopen_stack_code loads. */
int stack_code_library;
