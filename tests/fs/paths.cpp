// SPDX-License-Identifier: MIT
// rungs: all
// Directories, links, names, what is in a directory, and temporaries.
#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include <weft/fs/directory.hpp>
#include <weft/fs/paths.hpp>
#include <weft/fs/temporary.hpp>
#include <weft/fs/whole_file.hpp>
#include <weft/testing/catch.hpp>

#include "awaiting.hpp"
#include "descriptors.hpp"

namespace paths_test {

using namespace support;
using weft::create_task;
namespace files = weft::files;

namespace {

weft::Coro<std::vector<std::string>> names_below(std::string root, bool deep) {
    std::vector<std::string> names;
    auto listing = deep ? files::walk(root) : files::entries(root);
    while (auto entry = co_await listing.next()) {
        const char* const kind = entry->is_directory() ? "/" : entry->is_symlink() ? "@" : "";
        names.push_back(entry->path().substr(root.size() + 1) + kind);
    }
    std::sort(names.begin(), names.end());
    co_return names;
}

}  // namespace

WEFT_TEST_CASE("directories are made, listed, walked and removed", "[paths]") {
    weft::TemporaryDirectory scratch = co_await weft::temporary_directory();
    const std::string root = scratch.file("root");
    const bool made = co_await files::mkdir_all(root + "/a/b/c/");
    CHECK(made);
    const bool again = co_await files::mkdir_all(root + "/a/b/c");
    CHECK_FALSE(again);
    co_await files::mkdir(root + "/d", 0700);
    const weft::FileInfo info = co_await files::stat(root + "/d");
    CHECK(info.is_directory());
    CHECK(info.permissions() == 0700);
    co_await weft::write_file(root + "/a/one", "1");
    co_await weft::write_file(root + "/a/b/two", "22");
    co_await files::symlink("../a", root + "/d/link");
    const std::vector<std::string> top = co_await names_below(root, false);
    CHECK(top == std::vector<std::string>{"a/", "d/"});
    const std::vector<std::string> all = co_await names_below(root, true);
    const std::vector<std::string> expected{"a/",    "a/b/", "a/b/c/", "a/b/two",
                                            "a/one", "d/",   "d/link@"};
    CHECK(all == expected);
    const std::uint64_t count = co_await files::remove_all(root);
    CHECK(count == expected.size() + 1);
    const bool there = co_await files::exists(root);
    CHECK_FALSE(there);
    const std::uint64_t nothing = co_await files::remove_all(root);
    CHECK(nothing == 0);
    // More than one call of the kernel's gives.
    co_await files::mkdir(root);
    for (int number = 0; number < 2000; ++number) {
        const std::string path = root + "/a rather long name " + std::to_string(number);
        checked(::close(checked(::open(path.c_str(), O_CREAT | O_WRONLY, 0600), "open")), "close");
    }
    const std::vector<std::string> many = co_await names_below(root, false);
    CHECK(many.size() == 2000);
    const std::uint64_t removed = co_await files::remove_all(root);
    CHECK(removed == 2001);
}

WEFT_TEST_CASE("a directory that is removed while it is listed has no more entries", "[paths]") {
    weft::TemporaryDirectory folder = co_await weft::temporary_directory();
    const std::string inner = folder.file("inner");
    co_await files::mkdir(inner);
    co_await weft::write_file(inner + "/one", "x");
    for (const bool walks : {false, true}) {
        CAPTURE(walks);
        auto list = walks ? files::walk(folder.path()) : files::entries(inner);
        std::optional<weft::DirectoryEntry> found = co_await list.next();
        while (found && found->name() != "one") found = co_await list.next();
        REQUIRE(found);
        co_await files::remove_all(inner);
        const auto more = co_await list.next();
        CHECK_FALSE(more);
        co_await files::mkdir(inner);
        co_await weft::write_file(inner + "/one", "x");
    }
}

WEFT_TEST_CASE("what a symbolic link leads to is not removed with it", "[paths]") {
    weft::TemporaryDirectory scratch = co_await weft::temporary_directory();
    co_await files::mkdir(scratch.file("kept"));
    co_await weft::write_file(scratch.file("kept/data"), "x");
    co_await files::mkdir(scratch.file("root"));
    co_await files::symlink("../kept", scratch.file("root/link"));
    co_await files::symlink("kept", scratch.file("direct"));
    co_await files::remove_all(scratch.file("root"));
    co_await files::remove_all(scratch.file("direct"));
    const std::string kept = co_await weft::read_text(scratch.file("kept/data"));
    CHECK(kept == "x");
}

WEFT_TEST_CASE("names are changed, given twice, and led elsewhere", "[paths]") {
    weft::TemporaryDirectory scratch = co_await weft::temporary_directory();
    const std::string a = scratch.file("a");
    const std::string b = scratch.file("b");
    co_await weft::write_file(a, "text");
    co_await files::rename(a, b);
    co_await files::link(b, a);
    weft::FileInfo info = co_await files::stat(a);
    CHECK(info.links() == 2);
    const Failure taken = co_await failure([&] { return files::rename_new(a, b); });
    CHECK(taken.error == EEXIST);
    CHECK(taken.names("rename \"" + a + "\" to \"" + b + "\": "));
    co_await files::remove(a);
    const std::string target = "b" + std::string(600, '/');
    co_await files::symlink(target, a);
    const std::string said = co_await files::read_link(a);
    CHECK(said == target);
    info = co_await files::lstat(a);
    CHECK(info.is_symlink());
    co_await files::remove(b);
    const bool leads = co_await files::exists(a);
    CHECK_FALSE(leads);
}

WEFT_TEST_CASE("an error of a path names the call and the path", "[paths]") {
    weft::TemporaryDirectory scratch = co_await weft::temporary_directory();
    const std::string none = scratch.file("none");
    const std::string file = scratch.file("file");
    co_await weft::write_file(file, "");
    co_await files::mkdir_all(scratch.file("full/x"));
    const std::string zero("a\0b", 3);
    CHECK_THROWS_AS(files::mkdir(zero), std::system_error);
    CHECK_THROWS_AS(files::rename(file, zero), std::system_error);

    Failure failed = co_await failure([&] { return files::stat(none); });
    CHECK((failed.error == ENOENT && failed.names("stat \"" + none + "\": ")));
    failed = co_await failure([&] { return files::remove(none); });
    CHECK((failed.error == ENOENT && failed.names("remove \"" + none + "\": ")));
    failed = co_await failure([&] { return files::remove(scratch.file("full")); });
    CHECK((failed.error == ENOTEMPTY && failed.names("remove \"" + scratch.file("full") + "\"")));
    failed = co_await failure([&] { return files::mkdir(file); });
    CHECK((failed.error == EEXIST && failed.names("mkdir \"" + file + "\": ")));
    failed = co_await failure([&] { return files::mkdir_all(file); });
    CHECK((failed.error == EEXIST && failed.names("mkdir \"" + file + "\": ")));
    failed = co_await failure([&] { return files::mkdir_all(file + "/x/y"); });
    CHECK((failed.error == ENOTDIR && failed.names("mkdir \"" + file + "/x")));
    failed = co_await failure([&] { return files::link(none, file); });
    CHECK((failed.error == ENOENT && failed.names("link \"" + none + "\" to \"" + file + "\": ")));
    failed = co_await failure([&] { return files::symlink("x", file); });
    CHECK((failed.error == EEXIST && failed.names("symlink \"" + file + "\" to \"x\": ")));
    failed = co_await failure([&] { return files::read_link(file); });
    CHECK((failed.error == EINVAL && failed.names("readlink \"" + file + "\": ")));
    auto listing = files::entries(none);
    failed = co_await failure([&] { return listing.next(); });
    CHECK((failed.error == ENOENT && failed.names("open \"" + none + "\": ")));
}

WEFT_TEST_CASE("a temporary directory goes with what is in it, in each of its ends", "[paths]") {
    std::string path;
    {
        weft::TemporaryDirectory scratch = co_await weft::temporary_directory("/tmp");
        path = scratch.path();
        const weft::FileInfo info = co_await files::stat(path);
        CHECK(info.permissions() == 0700);
        co_await files::mkdir_all(scratch.file("a/b"));
        co_await weft::write_file(scratch.file("a/b/c"), "x");
        weft::TemporaryDirectory moved = std::move(scratch);
        CHECK(scratch.path().empty());
    }
    bool there = co_await files::exists(path);
    CHECK_FALSE(there);
    weft::TemporaryDirectory kept = co_await weft::temporary_directory();
    path = kept.keep();
    co_await kept.close();
    there = co_await files::exists(path);
    CHECK(there);
    co_await files::remove(path);
    weft::File file = co_await weft::temporary_file();
    co_await file.write("text");
    const weft::FileInfo info = co_await file.stat();
    CHECK(info.links() == 0);
    CHECK(info.size() == 4);
}

WEFT_TEST_CASE("path operations cancelled at any turn end, and leak nothing", "[paths]") {
    weft::TemporaryDirectory scratch = co_await weft::temporary_directory();
    const auto use = [&]() -> weft::Coro<void> {
        const std::string root = scratch.file("root");
        co_await files::mkdir_all(root + "/a/b");
        co_await weft::write_file(root + "/a/data", "x");
        co_await files::rename(root + "/a/data", root + "/a/b/data");
        const auto names = co_await names_below(root, true);
        if (names.size() != 3) throw std::runtime_error("something is missing");
        co_await files::remove_all(root);
    };
    int cancelled = 0;
    for (int before = 0; before < 60; ++before) {
        auto task = create_task(use);
        co_await turns(before);
        task.cancel();
        const End end = co_await ending(std::move(task));
        CHECK((end == End::value || end == End::cancelled));
        cancelled += end == End::cancelled;
        co_await files::remove_all(scratch.file("root"));
    }
    CHECK(cancelled > 0);
}

}  // namespace paths_test
