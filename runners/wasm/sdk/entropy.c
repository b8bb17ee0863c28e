// Preloaded into the compiler of Python transforms: gives it the same "random" bytes each time.
//
// Python draws the seed of its string hashes while a component is built, and the seed stays in the component. Were it
// random, the order of a set, and so the result of a transform, would depend on who built the component.
#include <string.h>
#include <sys/types.h>

ssize_t getrandom(void *buffer, size_t length, unsigned flags) {
    (void)flags;
    memset(buffer, 0x5a, length);
    return (ssize_t)length;
}

int getentropy(void *buffer, size_t length) {
    memset(buffer, 0x5a, length);
    return 0;
}
