// SPDX-License-Identifier: MIT
// Owned<T>: one owner, which ends what it owns.
#include <weft/base/owned.hpp>
#include <weft/testing/catch.hpp>

#include <type_traits>
#include <utility>

namespace owned_test {
namespace {

using weft::detail::Owned;

struct Counted {
    explicit Counted(int& alive) : count(&alive) { ++alive; }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
    virtual ~Counted() { --*count; }
    int* count;
};
struct Derived final : Counted {
    using Counted::Counted;
};

/// Looks at its own owner when it ends.
struct Looks {
    Owned<Looks>* owner;
    bool* saw_itself;
    ~Looks() { *saw_itself = owner->get() == this; }
};

TEST_CASE("what is owned ends with its owner, once, however often it was moved", "[owned]") {
    int alive = 0;
    {
        Owned<Counted> first(new Derived(alive));
        Owned<Counted> second(std::move(first));
        CHECK_FALSE(first);
        CHECK(alive == 1);
        Owned<Counted> third(new Counted(alive));
        third = std::move(second);
        CHECK(alive == 1);
        CHECK_FALSE(second);
        Owned<Counted>& same = third;
        third = std::move(same);
        CHECK(alive == 1);
        third = Owned<Derived>(new Derived(alive));
        CHECK(alive == 1);
    }
    CHECK(alive == 0);
    Owned<Counted> given_away(new Counted(alive));
    delete given_away.release();
    CHECK(alive == 0);
}

TEST_CASE("what is replaced does not find itself any more when it ends", "[owned]") {
    bool saw_itself = true;
    Owned<Looks> owner;
    owner.reset(new Looks{&owner, &saw_itself});
    owner.reset();
    CHECK_FALSE(saw_itself);
}

static_assert(!std::is_copy_constructible_v<Owned<int>>);
static_assert(!std::is_constructible_v<Owned<Derived>, Owned<Counted>&&>);
static_assert(sizeof(Owned<int[]>) == sizeof(int*));

}  // namespace
}  // namespace owned_test
