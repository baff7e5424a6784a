#!/bin/sh
# Stands for make on a test host: builds modules with the real one, once for each source, kernel, compiler and place, and
# has the same files there again at the next call, on any host. Everything but the building of kernel modules goes to
# the real one, and so does a build for which nothing is kept; one that fails is not kept.
kernel=$(printf '%s\n' "$@" | sed -n 's,^SYSOUT=,,p;s,^KERNEL_UNAME=\(.*\),/lib/modules/\1/build,p' | head -1)
[ -n "$kernel" ] || exec /usr/bin/make.real "$@"
case " $* " in
*" clean "*)
    [ -z "$(find . -name '*.o' -o -name '*.cmd')" ] && exit 0 # nothing was built
    exec /usr/bin/make.real "$@"
    ;;
esac
key=$({
    pwd
    printf '%s\n' "$@" | grep -v '^-j'
    find . /usr/src/linux-headers-*-common/include/linux/module.h "$kernel/.config" \
        "$kernel/include/generated/utsrelease.h" "$(readlink -f /usr/bin/cc)" -type f ! -name '*.log' 2> /dev/null |
        sort | xargs sha256sum
} | sha256sum | cut -c 1-16)
built=/opt/gpulab-test/built
[ -e "$built/$key" ] && cp -a "$built/$key/." . && exit 0
/usr/bin/make.real "$@" || exit
find $built -maxdepth 1 -name 'new.*' -mmin +60 -exec rm -rf {} + # of builds that were killed
new=$(mktemp -d $built/new.XXXXXX)
cp -a . "$new" && mv -T "$new" "$built/$key" 2> /dev/null || rm -rf "$new" # another host was faster
