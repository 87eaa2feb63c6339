// SPDX-License-Identifier: MIT
// KeyTable<Key, T>: a hash table, for a tenth of what <unordered_map> costs every user's compile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include "../../base/table.hpp"

namespace weft::detail {

/// Chains in a table of a power of two, at most one for each place on average.
template <class Key, class T, class Hash>
class KeyTable {
    struct Node {
        Node* next;
        std::size_t hash;
        Key key;
        T value;
    };

public:
    KeyTable() noexcept = default;
    KeyTable(const KeyTable&) = delete;
    KeyTable& operator=(const KeyTable&) = delete;
    ~KeyTable() {
        while (size_ > 0) take_one();
    }

    std::size_t size() const noexcept { return size_; }
    /// Null: not in.
    T* find(const Key& key) {
        if (size_ == 0) return nullptr;
        Node* const node = *link_to(key);
        return node ? &node->value : nullptr;
    }
    /// `key` is not in.
    /// Throws:   std::bad_alloc, what the hash and the copy of the key throw; then it is not in.
    void add(const Key& key, T value) {
        if (size_ == places_.size()) grow();
        Node* const node = new Node{nullptr, Hash()(key), key, std::move(value)};
        link(*node);
        ++size_;
    }
    void erase(const Key& key) {
        if (size_ == 0) return;
        if (Node** const at = link_to(key); *at) take(at);
    }
    /// Any one of them; there is one.
    T take_one() noexcept {
        while (!places_[first_]) ++first_;
        return take(&places_[first_]);
    }

private:
    static constexpr std::size_t least = 8;

    /// (Of numbers and pointers std::hash returns what they are, and their lower bits may all be
    /// the same.)
    std::size_t index_of(std::size_t hash) const noexcept {
        const std::uint64_t mixed = std::uint64_t{hash} * 0x9E37'79B9'7F4A'7C15;
        return static_cast<std::size_t>(mixed >> 32) & (places_.size() - 1);
    }
    /// What points to it, or is the end of the chain that it would be in.
    Node** link_to(const Key& key) {
        const std::size_t hash = Hash()(key);
        Node** at = &places_[index_of(hash)];
        while (*at && !((*at)->hash == hash && (*at)->key == key)) at = &(*at)->next;
        return at;
    }
    void link(Node& node) noexcept {
        const std::size_t index = index_of(node.hash);
        node.next = std::exchange(places_[index], &node);
        if (index < first_) first_ = index;
    }
    T take(Node** at) noexcept {
        Node* const node = *at;
        *at = node->next;
        --size_;
        T value = std::move(node->value);
        delete node;
        return value;
    }
    /// To twice as many places.
    void grow() {
        const std::size_t before = places_.size();
        if (!places_.reach(before == 0 ? least - 1 : before)) throw std::bad_alloc();
        for (std::size_t index = 0; index < before; ++index) {
            Node* chain = std::exchange(places_[index], nullptr);
            while (chain) link(*std::exchange(chain, chain->next));
        }
    }

    Table<Node*> places_;
    std::size_t size_ = 0;
    std::size_t first_ = 0;  // no place before it has any
};

}  // namespace weft::detail
