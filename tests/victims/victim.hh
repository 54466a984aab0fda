/* What the victims in C++ share; see victim.h. */
#ifndef VICTIM_HH
#define VICTIM_HH

#include <cstdlib>
#include <iostream>

static inline void check(bool condition, const char *what)
{
	if (condition)
		return;
	std::cerr << "check failed: " << what << std::endl;
	std::exit(1);
}

#define CHECK(condition) check((condition), #condition)

#endif
