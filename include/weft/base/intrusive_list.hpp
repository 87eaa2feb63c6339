// SPDX-License-Identifier: MIT
// A doubly linked list whose nodes live in the objects it links: no allocation, O(1) unlink.
#pragma once

namespace weft::detail {

/// A link to derive from. A node that is in no list has null links.
/// The tag lets one object be in several lists at once.
template <class Tag = void>
struct ListNode {
    ListNode() noexcept : prev(nullptr), next(nullptr) {}
    /// For a node that keeps account itself of whether it is in a list.
    struct Unset {};
    explicit ListNode(Unset) noexcept {}

    ListNode* prev;
    ListNode* next;

    bool linked() const noexcept { return next != nullptr; }
    void unlink() noexcept {
        prev->next = next;
        next->prev = prev;
        prev = next = nullptr;
    }
    /// (In this order: g++ 12 would put both links into a vector register and store that, which
    /// takes four instructions and keeps who reads them waiting.)
    void link_before(ListNode& after) noexcept {
        ListNode* const before = after.prev;
        prev = before;
        before->next = this;
        next = &after;
        after.prev = this;
    }
};

/// Circular with the list itself as the sentinel: linking and unlinking have no branches.
template <class T, class Tag = void>
class IntrusiveList {
    using Node = ListNode<Tag>;

public:
    IntrusiveList() noexcept { root_.prev = root_.next = &root_; }
    IntrusiveList(const IntrusiveList&) = delete;
    IntrusiveList& operator=(const IntrusiveList&) = delete;

    bool empty() const noexcept { return root_.next == &root_; }
    // Casts of references: those of pointers look for null first.
    T& front() noexcept { return static_cast<T&>(*root_.next); }
    T& back() noexcept { return static_cast<T&>(*root_.prev); }
    bool has_one() const noexcept { return root_.next == root_.prev && root_.next != &root_; }

    void push_back(T& item) noexcept { static_cast<Node&>(item).link_before(root_); }
    void push_front(T& item) noexcept { static_cast<Node&>(item).link_before(*root_.next); }
    T& pop_front() noexcept {
        T& item = front();
        static_cast<Node&>(item).unlink();
        return item;
    }
    static void erase(T& item) noexcept { static_cast<Node&>(item).unlink(); }
    /// For an item that goes now, or into another list: its links stay as they are.
    static void erase_for_good(T& item) noexcept {
        const Node& node = item;
        node.prev->next = node.next;
        node.next->prev = node.prev;
    }
    /// Empties it without a look at the items, whose links stay as they are.
    void forget_all() noexcept { root_.prev = root_.next = &root_; }

    /// Calls `visit(item)` for each; the visited item may unlink itself.
    template <class Visit>
    void for_each(Visit&& visit) {
        for (Node* node = root_.next; node != &root_;) {
            Node* const next = node->next;
            visit(static_cast<T&>(*node));
            node = next;
        }
    }

    /// Looks at no more of them than it takes.
    template <class Is>
    bool any_of(Is&& is) {
        Node* node = root_.next;
        while (node != &root_ && !is(static_cast<const T&>(*node))) node = node->next;
        return node != &root_;
    }
    /// From the last one on, as long as `visit(item)` says true.
    template <class Visit>
    void for_each_from_back(Visit&& visit) {
        Node* node = root_.prev;
        while (node != &root_ && visit(static_cast<T&>(*node))) node = node->prev;
    }

private:
    Node root_;
};

}  // namespace weft::detail
